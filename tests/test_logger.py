import logging

import pytest

from maskrcnn_benchmark.utils.logger import setup_logger


@pytest.fixture(autouse=True)
def no_handlers_stay():
    yield
    for name in ("logger_test", "logger_test.child"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


def test_lines_go_to_console_and_file(tmp_path, capsys):
    folder = tmp_path / "new"
    setup_logger("logger_test", str(folder), 0).info("hello")
    line = (folder / "log.txt").read_text()
    assert line.endswith("logger_test INFO: hello\n")
    assert line[:4].isdigit()  # it begins with the date
    assert capsys.readouterr().out == line


def test_calling_again_or_for_a_child_does_not_double_lines(tmp_path, capsys):
    setup_logger("logger_test", str(tmp_path), 0)
    setup_logger("logger_test", str(tmp_path), 0)
    setup_logger("logger_test.child", str(tmp_path), 0).info("once")
    assert capsys.readouterr().out.count("once") == 1
    assert (tmp_path / "log.txt").read_text().count("once") == 1


def test_another_folder_takes_over(tmp_path):
    setup_logger("logger_test", str(tmp_path / "a"), 0).info("first")
    setup_logger("logger_test", str(tmp_path / "b"), 0, filename="other.txt").info("second")
    assert "second" not in (tmp_path / "a/log.txt").read_text()
    assert "second" in (tmp_path / "b/other.txt").read_text()


def test_other_ranks_write_nothing(tmp_path, capsys):
    logger = setup_logger("logger_test", str(tmp_path), 1)
    logger.info("hidden")
    assert not logger.handlers and not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""
