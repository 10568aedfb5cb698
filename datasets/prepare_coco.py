"""Make training photos of COCO, or of any zip file or folder of pictures: smaller, sound, upright.

    python datasets/prepare_coco.py --download val2017 -o datasets/coco        # 5,000 photos
    python datasets/prepare_coco.py train2017.zip -o datasets/coco --size 512
    python datasets/prepare_coco.py photos/ -o datasets/mine

Every picture is decoded as fst decodes (JPEG, PNG, WebP, BMP and TIFF; EXIF turns, colour profiles,
16 bits, grey and transparency understood), shrunk to a shorter side of --size, and written as JPEG
under the folders it had. Broken and tiny ones are left out and named in left_out.txt. Stopped and
called again, it goes on where it was. A zip file is not unpacked.
"""

import argparse
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from download import Download, fetch
from tqdm import tqdm

from fst.errors import FstError
from fst.io import images
from fst.io.atomic import write_atomically
from fst.io.paths import IMAGE_SUFFIXES

# https://cocodataset.org, "Download": 2017 train and val images.
COCO = {
    "train2017": Download(
        "http://images.cocodataset.org/zips/train2017.zip",
        19_336_861_798,
        "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    ),
    "val2017": Download(
        "http://images.cocodataset.org/zips/val2017.zip",
        815_585_330,
        "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    ),
}
MAX_MEMBER_BYTES = 200_000_000  # of a picture in a zip file, unpacked
BATCH = 256  # pictures handed to the threads at a time
SETTINGS, LEFT_OUT = "prepared.json", "left_out.txt"


class Source(NamedTuple):
    """A picture to prepare: a file, or a member of an open zip file."""

    name: PurePosixPath  # below the folder or in the archive
    file: Path | None = None
    archive: zipfile.ZipFile | None = None
    member: zipfile.ZipInfo | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    args = make_parser().parse_args(argv)
    try:
        if args.download:
            args.source = download(args.download, args.archives)
        elif args.source is None:
            raise FstError("name a zip file or a folder, or give --download val2017")
        prepare(args)
    except FstError as error:
        print(f"prepare_coco: {images.printable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("prepare_coco: interrupted; run again to go on", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", nargs="?", type=Path, metavar="SOURCE", help="a zip file or a folder")
    add("--download", choices=COCO, help="fetch this first (0.8 and 19 GB)")
    add("--archives", type=Path, default=Path("datasets"), metavar="DIR", help="for it (datasets)")
    add("-o", "--output", type=Path, default=Path("datasets/coco"), metavar="DIR",
        help="(datasets/coco)")  # fmt: skip
    add("--size", type=int, default=512, metavar="PX", help="shorter side at most (512)")
    add("--least", type=int, default=256, metavar="PX", help="leave smaller ones out (256)")
    add("--quality", type=int, default=92, metavar="Q", help="of the JPEG files, 1 to 100 (92)")
    add("--limit", type=int, metavar="N", help="only the first N")
    add("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="(one a core)")
    return parser


def download(name: str, folder: Path) -> Path:
    """The archive, fetched with a progress bar."""
    wanted = COCO[name]
    with tqdm(total=wanted.size_bytes, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        return fetch(wanted, folder / f"{name}.zip", bar.update)


def prepare(args: argparse.Namespace) -> None:
    """Prepare all pictures of the source that are not there yet, and say how many there are.

    Raises:
        FstError: The source has none, a number makes no sense, or the disk is full.
    """
    limit = 1 if args.limit is None else args.limit
    if min(args.size, args.least, args.threads, limit) < 1 or not 1 <= args.quality <= 100:
        raise FstError("--size, --least, --limit and --threads are numbers from 1 up, --quality "
                       "ends at 100")  # fmt: skip
    if args.output.resolve().is_relative_to(args.source.resolve()):
        raise FstError(f"-o {args.output} is within {args.source}: name another folder")
    sources = list(islice(find(args.source), args.limit))
    if not sources:
        raise FstError(f"{args.source}: no picture ({' '.join(IMAGE_SUFFIXES)}) in it")
    settings = {name: getattr(args, name) for name in ("size", "least", "quality")}
    _settle(args.output, settings)
    left_out: list[str] = []
    with (
        ThreadPoolExecutor(args.threads) as threads,
        tqdm(total=len(sources), unit="photo", disable=None) as bar,
    ):
        for start in range(0, len(sources), BATCH):
            batch = sources[start : start + BATCH]
            for reason in threads.map(lambda source: prepare_one(source, args), batch):
                left_out += [reason] if reason else []
                bar.update()
    write_atomically(args.output / LEFT_OUT, "".join(f"{line}\n" for line in left_out).encode())
    print(f"{args.output}: {len(sources) - len(left_out)} photos, {len(left_out)} left out")


def _settle(folder: Path, settings: dict[str, int]) -> None:
    """Refuse a folder whose pictures were made with other settings.

    Raises:
        FstError: So they were.
    """
    try:
        held = json.loads((folder / SETTINGS).read_bytes())
    except FileNotFoundError:
        write_atomically(folder / SETTINGS, json.dumps(settings).encode())
        return
    except (OSError, ValueError) as error:
        raise FstError(f"{folder / SETTINGS} cannot be read: {error}") from None
    if held != settings:
        raise FstError(f"{folder} holds pictures made with {held}; name another folder with -o")


def find(source: Path) -> Iterator[Source]:
    """The pictures of a folder or a zip file, in the order of their names.

    Raises:
        FstError: It is neither.
    """
    if source.is_dir():
        for file in images.find(source):
            yield Source(PurePosixPath(file.relative_to(source).as_posix()), file=file)
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise FstError(f"{source}: neither a folder nor a whole zip file ({error})") from None
    for member in sorted(archive.infolist(), key=lambda member: member.filename):
        name = PurePosixPath(member.filename)
        if name.suffix.lower() in IMAGE_SUFFIXES and not member.is_dir():
            yield Source(name, archive=archive, member=member)


def prepare_one(source: Source, args: argparse.Namespace) -> str | None:
    """Write one picture unless it is there; returns why it was left out, if it was.

    Raises:
        FstError: It cannot be written.
    """
    parts = source.name.parts
    # What an archive calls its members is up to whoever made it.
    if source.name.is_absolute() or ".." in parts or any("\\" in p or ":" in p for p in parts):
        return f"{images.printable(source.name)}: leads out of the folder"
    plain = source.name.suffix == ".jpg"
    target = args.output / (source.name if plain else f"{source.name}.jpg")
    if target.exists():
        return None
    try:
        picture = _decoded(source, args)
    except FstError as error:
        return f"{images.printable(source.name)}: {getattr(error, 'reason', error)}"
    if min(picture.size) < min(args.least, args.size):
        return f"{images.printable(source.name)}: {picture.width}x{picture.height} px"
    images.publish(target, lambda file: picture.save(file, "JPEG", quality=args.quality), True)
    return None


def _decoded(source: Source, args: argparse.Namespace):
    """The picture, shrunk.

    Raises:
        FstError: It cannot be read.
    """
    if source.file:
        return images.decode(source.file, args.size)
    if source.member.file_size > MAX_MEMBER_BYTES:
        raise FstError(f"{source.member.file_size:,} bytes: too large")
    if source.member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FstError("packed in a way whose size cannot be limited")
    try:
        # Not archive.read: that unpacks 2 GB at once of what claims to be small.
        with source.archive.open(source.member) as file:
            content = file.read(source.member.file_size + 1)
    except (OSError, RuntimeError, ValueError, NotImplementedError, zipfile.BadZipFile, EOFError,
            zipfile.zlib.error) as error:  # fmt: skip
        raise FstError(f"damaged in the archive ({error})") from None
    with tempfile.NamedTemporaryFile(suffix=source.name.suffix) as file:
        file.write(content)
        file.flush()
        return images.decode(file.name, args.size)


if __name__ == "__main__":
    sys.exit(main())
