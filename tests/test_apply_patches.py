"""tools/apply_patches.py on made checkouts: its output, and that it changes all or nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import patch_series
import pytest
from launching import load_file

TOOL = Path(__file__).resolve().parents[1] / "tools" / "apply_patches.py"
MINE = ("1", "2", "3", "5")  # patches of few files, which the tests name
BOXLIST_OPS = "maskrcnn_benchmark/structures/boxlist_ops.py"
DEFAULTS = "maskrcnn_benchmark/config/defaults.py"


@pytest.fixture
def tool():
    return load_file("tools/apply_patches.py")


@pytest.fixture
def say(tool, capsys, monkeypatch):
    """Run the tool; return its exit status and the lines that it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["apply_patches.py", *map(str, arguments)])
        status = tool.main()
        captured = capsys.readouterr()
        return status, captured.out.splitlines() + captured.err.splitlines()

    return run


@pytest.fixture
def checkout(tmp_path):
    """Make a git repository with the lines that all patches name."""
    folder = tmp_path / "checkout"
    patch_series.write_skeleton(folder, patch_series.series())
    patch_series.commit_all(folder)
    return folder


def names(numbers, word):
    return [f"{patch_series.patch_file(int(n)).name}: {word}" for n in numbers]


def change_line(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_applies_all_then_finds_all_there_then_undoes_all(checkout, say):
    before = patch_series.contents(checkout)
    numbers = [str(int(path.name[:4])) for path in patch_series.series()]
    status, lines = say(checkout)
    assert (status, lines) == (0, [*names(numbers, "applies"), f"applied: {','.join(numbers)}"])
    applied = patch_series.contents(checkout)
    reference = checkout.parent / "by-git"
    patch_series.git(checkout.parent, "clone", "-q", str(checkout), str(reference))
    patch_series.git(reference, "apply", *[str(path) for path in patch_series.series()])
    assert applied == patch_series.contents(reference) != before
    assert say(checkout) == (0, [*names(numbers, "already there"), "nothing was changed"])
    status, lines = say(checkout, "--reverse")  # the only uncommitted changes are the patches'
    assert (status, lines[-1]) == (0, f"undone: {','.join(numbers)}")
    assert patch_series.contents(checkout) == before
    status, lines = say(checkout, "--reverse")
    assert (status, lines) == (0, [*names(numbers[::-1], "not there"), "nothing was changed"])


def test_check_changes_nothing(checkout, say):
    before = patch_series.contents(checkout)
    assert say(checkout, "--check", "--only", "2,1") == (
        0,
        [*names("12", "applies"), "nothing was changed"],
    )
    assert patch_series.contents(checkout) == before


def test_only_takes_some_and_finds_one_below_others(checkout, say):
    assert say(checkout, "--only", "2")[0] == 0
    status, lines = say(checkout, "--only", "2,3,5")
    assert status == 0
    assert lines == [*names("2", "already there"), *names("35", "applies"), "applied: 3,5"]
    status, lines = say(checkout, "--reverse", "--only", "2,1")
    assert status == 0
    assert lines == [*names("2", "can be undone"), *names("1", "not there"), "undone: 2"]
    assert not (checkout / "maskrcnn_benchmark/modeling/crowd_match.py").exists()
    assert (checkout / "maskrcnn_benchmark/modeling/overlapping_rows.py").exists()


def test_says_where_a_patch_does_not_apply_and_leaves_all_as_it_was(checkout, say):
    change_line(checkout / DEFAULTS, '_C.MODEL.DEVICE = "cuda"', '_C.MODEL.DEVICE = "cpu"')
    (checkout / "maskrcnn_benchmark/modeling/detector/detectors.py").unlink()
    (checkout / "maskrcnn_benchmark/structures/crowd_iou.py").write_text("mine = 1\n")
    patch_series.git(checkout, "commit", "-q", "-a", "-m", "a fork")
    before = patch_series.contents(checkout)
    (hunk,) = patch_series.parse(patch_series.patch_file(3))[1].hunks
    status, lines = say(checkout, "--only", "1,2,3")
    assert status == 1
    assert lines == [
        *names("1", "does not apply:"),
        "  maskrcnn_benchmark/structures/crowd_iou.py exists already",
        *names("2", "applies"),
        *names("3", "does not apply:"),
        f"  {DEFAULTS}:{hunk.old_start} has other lines than the original there",
        "  maskrcnn_benchmark/modeling/detector/detectors.py is missing",
        "apply_patches.py: nothing was changed; without those that fail: --only 2",
    ]
    assert patch_series.contents(checkout) == before


def test_says_where_a_patch_cannot_be_undone(checkout, say):
    assert say(checkout, "--only", "1")[0] == 0
    change_line(checkout / BOXLIST_OPS, "        return crowd_iou", "        return 2 * crowd_iou")
    before = patch_series.contents(checkout)
    status, lines = say(checkout, "--reverse", "--only", "1")
    assert status == 1 and lines[0] == names("1", "cannot be undone:")[0]
    assert lines[1].startswith(f"  {BOXLIST_OPS}:")
    assert patch_series.contents(checkout) == before


@pytest.mark.parametrize("link", [BOXLIST_OPS, "maskrcnn_benchmark/structures"])
def test_fault_a_link_out_of_the_checkout_was_written_through(checkout, say, link):
    outside = checkout.parent / "outside"
    shutil.move(checkout / link, outside)
    (checkout / link).symlink_to(outside)
    patch_series.commit_all(checkout)
    before = patch_series.contents(checkout.parent)
    status, (line,) = say(checkout, "--only", "1")
    assert status == 1 and f"leads to {outside}" in line and "nothing was changed" in line
    assert patch_series.contents(checkout.parent) == before


def test_fault_a_linked_package_was_written_to(checkout, say):
    outside = checkout.parent / "outside"
    shutil.move(checkout / "maskrcnn_benchmark", outside)
    (checkout / "maskrcnn_benchmark").symlink_to(outside)
    status, (line,) = say(checkout, "--only", "1")
    assert status == 2 and f"leads out of the checkout, to {outside}" in line


@pytest.mark.parametrize(
    "settings",
    [
        {"core.fsmonitor": "{program}"},
        {"core.hooksPath": "{hooks}"},
        {"filter.x.clean": "{program}", "filter.x.required": "true"},
        {"filter.x.process": "{program}"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_fault_programs_of_a_checkouts_own_settings_were_run(checkout, say, settings):
    mark = checkout.parent / "mark"
    program = checkout.parent / "hooks" / "post-index-change"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    program.chmod(0o755)
    (checkout / ".gitattributes").write_text("*.py filter=x\n")
    patch_series.commit_all(checkout)
    for name, value in settings.items():
        text = value.format(program=program, hooks=program.parent)
        patch_series.git(checkout, "config", name, text)
    (checkout / BOXLIST_OPS).touch()  # so that git compares its content
    status, _ = say(checkout, "--only", "1")
    assert status == 0 and not mark.exists()


def test_refuses_a_dirty_checkout_unless_forced(checkout, say):
    assert say(checkout, "--only", "1")[0] == 0
    other = sorted(path for path in patch_series.contents(checkout) if "generalized_rcnn" in path)
    (checkout / other[0]).write_text((checkout / other[0]).read_text() + "mine = 1\n")
    with (checkout / BOXLIST_OPS).open("a") as file:
        file.write("mine = 1\n")  # on top of patch 1
    (checkout / "notes.txt").write_text("not tracked: no matter\n")
    before = patch_series.contents(checkout)
    status, lines = say(checkout, "--only", "2")
    assert status == 1 and "changes that are not committed" in lines[1]
    assert sorted(line.strip() for line in lines[2:4]) == sorted([other[0], BOXLIST_OPS])
    assert patch_series.contents(checkout) == before
    assert say(checkout, "--only", "2", "--force")[1][-1] == "applied: 2"
    after = patch_series.contents(checkout)
    assert after[other[0]] == before[other[0]] and after != before


def test_an_error_half_way_leaves_the_checkout_as_it_was(checkout, tool, say, monkeypatch):
    before = patch_series.contents(checkout)
    copy, copied = shutil.copy, []

    def copy_twice(source, target):
        if str(target).startswith(str(checkout)):
            copied.append(target)
            if len(copied) == 3:
                raise KeyboardInterrupt
        return copy(source, target)

    monkeypatch.setattr(tool.shutil, "copy", copy_twice)
    with pytest.raises(KeyboardInterrupt):
        say(checkout)
    assert len(copied) == 3
    assert patch_series.contents(checkout) == before
    assert not patch_series.git(checkout, "status", "--short")


def test_a_folder_without_git_and_a_package_in_a_subfolder(checkout, tmp_path, say):
    plain = tmp_path / "plain" / "code"
    plain.mkdir(parents=True)
    shutil.copytree(checkout / "maskrcnn_benchmark", plain / "maskrcnn_benchmark")
    before = patch_series.contents(plain)
    status, lines = say(plain.parent, "--only", "1,2")
    assert status == 0 and lines[-1] == "applied: 1,2"
    assert lines[-2] == f"{plain} is not under git: your own changes cannot be detected"
    assert "from . import crowd_iou" in (plain / BOXLIST_OPS).read_text()
    assert say(plain.parent, "--only", "1,2", "--reverse")[0] == 0
    assert patch_series.contents(plain) == before


def test_a_package_in_a_subfolder_of_the_repository(tmp_path, say):
    patch_series.write_skeleton(tmp_path / "repo" / "detection", patch_series.series())
    patch_series.commit_all(tmp_path / "repo")
    assert say(tmp_path / "repo", "--only", "1,3")[0] == 0
    status = patch_series.git(tmp_path / "repo", "status", "--short", "--untracked-files=no")
    assert f" M detection/{BOXLIST_OPS}" in status.splitlines()
    assert say(tmp_path / "repo", "--only", "1,3", "--reverse")[0] == 0
    assert not patch_series.git(tmp_path / "repo", "status", "--short")


def test_a_package_of_another_name(checkout, say):
    patch_series.git(checkout, "mv", "maskrcnn_benchmark", "fcos_core")
    for path in (checkout / "fcos_core").rglob("*.py"):
        path.write_text(path.read_text().replace("maskrcnn_benchmark", "fcos_core"))
    patch_series.git(checkout, "commit", "-q", "-a", "-m", "another name")
    assert say(checkout, "--only", ",".join(MINE))[1][-1] == "applied: 1,2,3,5"
    assert (checkout / "fcos_core/modeling/crowd_match.py").is_file()
    assert not (checkout / "maskrcnn_benchmark").exists()


def test_files_with_crlf_keep_it(checkout, say):
    for name in (BOXLIST_OPS, DEFAULTS):
        path = checkout / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    patch_series.git(checkout, "commit", "-q", "-a", "-m", "CRLF")
    before = patch_series.contents(checkout)
    assert say(checkout, "--only", ",".join(MINE))[0] == 0
    after = patch_series.contents(checkout)
    for name in (BOXLIST_OPS, DEFAULTS):
        assert after[name].count(b"\r\n") == after[name].count(b"\n") > before[name].count(b"\n")
    matcher = "maskrcnn_benchmark/modeling/matcher.py"
    assert b"\r" not in after[matcher] and after[matcher] != before[matcher]
    assert say(checkout, "--only", ",".join(MINE), "--reverse")[0] == 0
    assert patch_series.contents(checkout) == before


def test_files_that_a_fork_lacks_can_be_passed_over(checkout, say):
    missing = "maskrcnn_benchmark/modeling/detector/detectors.py"
    patch_series.git(checkout, "rm", "-q", missing)
    patch_series.git(checkout, "commit", "-q", "-m", "a fork")
    assert say(checkout, "--only", "3")[0] == 1
    status, lines = say(checkout, "--only", "3", "--skip-missing")
    assert (status, lines) == (
        0,
        [*names("3", f"applies, without {missing} (not here)"), "applied: 3"],
    )
    assert "_C.MODEL.CROWD = CN()" in (checkout / DEFAULTS).read_text()
    assert say(checkout, "--only", "3", "--skip-missing", "--reverse")[1][-1] == "undone: 3"
    assert not patch_series.git(checkout, "status", "--short")


def test_wrong_usage_is_said(checkout, tmp_path, say):
    status, lines = say(checkout, "--only", "1,9")
    assert status == 2 and "--only takes numbers of 1,2,3" in lines[0] and "got 1,9" in lines[0]
    status, lines = say(tmp_path / "nowhere")
    assert status == 2 and lines[0].endswith(f"{tmp_path / 'nowhere'} is no folder")
    (tmp_path / "empty").mkdir()
    status, lines = say(tmp_path / "empty")
    assert status == 2 and "found none" in lines[0]
    shutil.copytree(checkout, tmp_path / "two" / "a")
    shutil.copytree(checkout, tmp_path / "two" / "b")
    status, lines = say(tmp_path / "two")
    assert status == 2 and "name the folder of one checkout" in lines[0]


def test_the_tool_needs_nothing_but_python_and_git(checkout):
    command = [sys.executable, "-I", "-S", TOOL, checkout, "--check", "--only", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [*names("1", "applies"), "nothing was changed"]
