"""Compiled libraries are loaded only if they are the user's own and whole, from the bytes that were checked."""

import ctypes
import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stablebench.process import c_library as library
from stablebench.process import compile_cache
from stablebench.process.c_compiler import CompilerError

ANSWER = "int answer(void) { return 42; }"
MARKER = "int answer(void) { return 666; }"
"""What somebody else put in its place."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a cache folder of libraries."""
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache" / "engines"
    forget()


def forget() -> None:
    """Have this process look for libraries as a new one does."""
    library.cache_folder.cache_clear()
    library._load.cache_clear()


def answer() -> int:
    """Return what the library says that is loaded for `ANSWER`."""
    forget()
    return library.load(ANSWER, "answer").answer()


def compiled(text: str) -> bytes:
    return library.compile_library(text, (tempfile.gettempdir(),))


@pytest.fixture(scope="module")
def marker() -> bytes:
    return compiled(MARKER)


def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    compile_ = library.compile_library

    def counted(text: str, folders: tuple[str | Path, ...], *flags: tuple[str, ...]) -> bytes:
        texts.append(text)
        return compile_(text, folders, *flags)

    monkeypatch.setattr(library, "compile_library", counted)
    return texts


def test_a_library_of_ones_own_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = compilations(monkeypatch)
    assert [answer(), answer(), answer()] == [42, 42, 42] and texts == [ANSWER]
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 2 and names[1] == f"{names[0]}.sha256"
    assert all(path.stat().st_mode & 0o077 == 0 for path in [folder, *folder.iterdir()])


def another_users(path: Path, marker: bytes) -> None:
    compile_cache.write(path, marker)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(path, 12345, 12345)


def a_link(path: Path, marker: bytes) -> None:
    elsewhere = path.with_name("elsewhere")
    compile_cache.write(path, marker)
    os.rename(path, elsewhere)
    path.symlink_to(elsewhere)


def a_digest_that_is_a_link(path: Path, marker: bytes) -> None:
    compile_cache.write(path, marker)
    digest = path.with_name(f"{path.name}.sha256")
    os.rename(digest, path.with_name("elsewhere"))
    digest.symlink_to(path.with_name("elsewhere"))


def writable_by_others(path: Path, marker: bytes) -> None:
    compile_cache.write(path, marker)
    path.chmod(0o622)


def a_digest_writable_by_a_group(path: Path, marker: bytes) -> None:
    compile_cache.write(path, marker)
    path.with_name(f"{path.name}.sha256").chmod(0o620)


def without_a_digest(path: Path, marker: bytes) -> None:
    compile_cache.write(path, marker)
    path.with_name(f"{path.name}.sha256").unlink()


def with_anothers_digest(path: Path, marker: bytes) -> None:
    path.write_bytes(marker)


def cut_short(path: Path, marker: bytes) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def emptied(path: Path, marker: bytes) -> None:
    path.write_bytes(b"")


def with_one_bit_changed(path: Path, marker: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def a_pipe(path: Path, marker: bytes) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [
    (another_users, "it belongs to another user"),
    (a_link, "is a link"),
    (a_digest_that_is_a_link, "is a link"),
    (writable_by_others, "others may write to it"),
    (a_digest_writable_by_a_group, "others may write to it"),
    (without_a_digest, "it has no digest"),
    (with_anothers_digest, "its digest does not hold"),
    (cut_short, "its digest does not hold"),
    (emptied, "its digest does not hold"),
    (with_one_bit_changed, "its digest does not hold"),
    (a_pipe, "is no regular file"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_foreign_or_torn_is_compiled_again(
    change: Callable[[Path, bytes], None],
    reason: str,
    folder: Path,
    marker: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is not ones own or not whole is compiled again and said once."""
    assert answer() == 42
    path = next(folder.glob("*.so"))
    change(path, marker)
    caplog.clear()
    assert [answer(), answer()] == [42, 42]
    said = [record.message for record in caplog.records]
    assert len(said) == 1 and str(path) in said[0] and reason in said[0] and "\n" not in said[0]
    assert path.is_file() and not path.is_symlink() and compile_cache.read(path) is not None


def test_what_is_loaded_is_what_was_checked(folder: Path, marker: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced, with its digest, between the check and the load."""
    assert answer() == 42
    path, read = next(folder.glob("*.so")), compile_cache.read

    def then_replaced(path: Path) -> bytes | None:
        found = read(path)
        compile_cache.write(path, marker)
        return found

    monkeypatch.setattr(compile_cache, "read", then_replaced)
    assert answer() == 42
    assert path.read_bytes() == marker


def test_a_loaded_library_does_not_change_with_the_file(folder: Path) -> None:
    forget()
    found = library.load(ANSWER, "answer")
    next(folder.glob("*.so")).write_bytes(b"")
    assert found.answer() == 42


@pytest.mark.parametrize("how", ["another user's", "writable by others"])
def test_folder_that_others_can_write_to_is_not_used(
    how: str, folder: Path, marker: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that others can write to is left for one beside it."""
    assert answer() == 42
    path = next(folder.glob("*.so"))
    compile_cache.write(path, marker)
    if how == "writable by others":
        folder.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(folder, 12345, 12345)
    else:
        pytest.skip("only root can give a folder to another user")
    assert [answer(), library.load(ANSWER, "answer").answer()] == [42, 42]
    assert path.read_bytes() == marker
    own = folder.with_name(f"engines-{os.geteuid()}")
    assert library.cache_folder() == own and compile_cache.read(own / path.name) is not None
    assert len(caplog.records) == 1 and str(folder) in caplog.text


# -- disks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Yield what mounts a small file system with options."""
    folders = []

    def mount(options: str) -> Path:
        path = tmp_path / f"disk{len(folders)}"
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True)
        if done.returncode:
            pytest.skip("mounting needs root")
        folders.append(path)
        return path

    yield mount
    for path in folders:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("options", ["size=4k", "noexec,size=1m", "ro"])
@pytest.mark.parametrize("what", ["cache", "temporary", "both"])
def test_a_folder_that_is_full_or_runs_nothing_or_is_read_only(
    what: str, options: str, mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache, temporary = (
        mounted(options) if what in (name, "both") else tmp_path / name for name in ("cache", "temporary")
    )
    temporary.mkdir(exist_ok=True)
    monkeypatch.setenv("STABLEBENCH_CACHE", str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    library.private_folder.cache_clear()
    try:
        if what == "both" and not options.startswith("noexec"):
            with pytest.raises(CompilerError, match="No space left|Read-only|no folder") as error:
                answer()
            assert "\n" not in str(error.value)
        else:
            assert answer() == 42
    finally:
        library.private_folder.cache_clear()
        forget()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_what_cannot_be_kept_is_used_all_the_same(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", no_room)
    assert answer() == 42
    assert not list(folder.iterdir())  # nothing half written is left


def test_memory_takes_the_place_of_a_temporary_folder(marker: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "memfd_create"):
        pytest.skip("Linux has it")
    ours = compiled(ANSWER)
    monkeypatch.setattr(tempfile, "tempdir", "/proc/no-such-folder")
    one, other = compile_cache.open_library(ours), compile_cache.open_library(marker)
    assert (one.answer(), other.answer()) == (42, 666)


def test_what_is_no_library_is_one_error() -> None:
    with pytest.raises(OSError, match="^[^/]*(file too short|invalid ELF header)"):
        compile_cache.open_library(b"garbage")
    assert ctypes.CDLL(None) is not None
