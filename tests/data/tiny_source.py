"""A data set of three small files, and archives of them."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from stablebench.data.files.source import DataSource, Download, SourceFile

CONTENTS = {"part/one.txt": b"first " * 50, "part/two.txt": b"second", "note.txt": b"a note"}


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def source_file(path: str, **more: object) -> SourceFile:
    return SourceFile(path, len(CONTENTS[path]), sha256(CONTENTS[path]), **more)  # type: ignore[arg-type]


SOURCE = DataSource(
    name="tiny",
    title="Tiny",
    homepage="https://example.org/tiny",
    terms="none",
    files=(source_file("part/one.txt"), source_file("part/two.txt"), source_file("note.txt", required=False)),
    downloads=(Download("https://example.org/tiny.tar.gz", "tiny.tar.gz", kind="archive"),),
    archives=(SourceFile("tiny.tar.xz"), SourceFile("tiny.zip"), SourceFile("tiny.tar")),
    folders=("elsewhere/deep",),
)


def tar_bytes(contents: dict[str, bytes], compression: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:  # pyright: ignore
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


REQUIRED = {name: CONTENTS[name] for name in ("part/one.txt", "part/two.txt")}
