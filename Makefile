# make demo: draw toy data, train, evaluate, predict (nine to ten minutes on two CPU cores)
# make test: the tests
# Both need Python 3.10+ and nothing else: the first call installs into .venv.
PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/.installed

.PHONY: demo test clean

demo: $(INSTALLED)
	$(VENV)/bin/python tools/demo.py

test: $(INSTALLED)
	OMP_WAIT_POLICY=passive $(VENV)/bin/python -m pytest -q -n 2 --dist loadfile

$(INSTALLED): setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, got " + sys.version.split()[0] + "; name another: make PYTHON=python3.12" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) output build *.egg-info
