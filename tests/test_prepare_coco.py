"""datasets/prepare_coco.py: what is kept, what is left out, going on; downloads from a server."""

import hashlib
import importlib.util
import json
import sys
import threading
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from conftest import smooth_field
from PIL import Image

from fst.errors import FstError

DATASETS = Path(__file__).parents[1] / "datasets"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(DATASETS))  # as when it runs: it imports its neighbour
    spec = importlib.util.spec_from_file_location("prepare_coco", DATASETS / "prepare_coco.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(DATASETS))


@pytest.fixture
def photos(tmp_path):
    """Sound pictures of several kinds, a broken one, a tiny one and a text."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    smooth_field(0, 120, 160).save(folder / "a.jpg")
    smooth_field(1, 160, 120).convert("L").save(folder / "grey.png")
    smooth_field(2, 90, 90).convert("RGBA").save(folder / "deep" / "a.png")
    smooth_field(3, 50, 60).save(folder / "small.jpg")
    smooth_field(4, 8, 8).save(folder / "tiny.jpg")
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    return folder


def zipped(folder, path, more=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, f"train/{file.relative_to(folder)}")
        for name, content in more:
            archive.writestr(name, content)
    return path


def pictures_in(folder):
    return {
        file.relative_to(folder).as_posix(): Image.open(file)
        for file in sorted(folder.rglob("*.jpg"))
    }


FLAGS = ["--size", "80", "--least", "32", "--threads", "2"]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_sound_pictures_are_shrunk_to_their_shorter_side_and_others_are_named(
    kind, script, photos, tmp_path, capsys
):
    source = photos if kind == "folder" else zipped(photos, tmp_path / "photos.zip")
    out = tmp_path / "out"
    assert script.main([str(source), "-o", str(out), *FLAGS]) == 0
    made = pictures_in(out if kind == "folder" else out / "train")
    assert {name: picture.size for name, picture in made.items()} == {
        "a.jpg": (107, 80),  # 160 x 120
        "grey.png.jpg": (80, 107),
        "deep/a.png.jpg": (80, 80),
        "small.jpg": (60, 50),  # never enlarged
    }
    assert all(picture.mode == "RGB" for picture in made.values())
    told = (out / "left_out.txt").read_text()
    assert told.count("\n") == 2 and "broken.jpg: " in told and "tiny.jpg: 8x8 px" in told
    assert capsys.readouterr().out == f"{out}: 4 photos, 2 left out\n"


def test_the_content_is_the_pictures(script, photos, tmp_path):
    script.main([str(photos), "-o", str(tmp_path / "out"), *FLAGS])
    shrunk = Image.open(photos / "a.jpg").resize((107, 80), Image.Resampling.LANCZOS)
    made = Image.open(tmp_path / "out" / "a.jpg")
    differences = [abs(a - b) for a, b in zip(shrunk.tobytes(), made.tobytes(), strict=True)]
    assert sum(differences) / len(differences) < 3


def test_called_again_it_goes_on_and_leaves_what_is_there(script, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    arguments = [str(photos), "-o", str(out), *FLAGS, "--threads", "1"]
    genuine, seen = script._decoded, []

    def decoded(source, args):
        seen.append(source.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return genuine(source, args)

    monkeypatch.setattr(script, "_decoded", decoded)
    assert script.main(arguments) == 130
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.jpg")}
    assert before
    monkeypatch.setattr(script, "_decoded", genuine)
    assert script.main(arguments) == 0
    assert len(pictures_in(out)) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert not list(out.rglob("*.tmp"))


def test_other_settings_are_refused_in_the_same_folder(script, photos, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert script.main([str(photos), "-o", out, *FLAGS]) == 0
    assert script.main([str(photos), "-o", out, "--size", "64"]) == 2
    assert "name another folder" in capsys.readouterr().err


def test_names_in_an_archive_never_lead_out_of_the_folder(script, photos, tmp_path):
    content = (photos / "a.jpg").read_bytes()
    names = ["../up.jpg", "/abs.jpg", "a/../../up.jpg", "c:\\win.jpg", "..\\up.jpg"]
    archive = zipped(photos, tmp_path / "z.zip", [(name, content) for name in names])
    before = set(tmp_path.rglob("*"))
    assert script.main([str(archive), "-o", str(tmp_path / "out" / "in"), *FLAGS]) == 0
    new = set(tmp_path.rglob("*")) - before
    assert all((tmp_path / "out") in (path, *path.parents) for path in new)
    told = (tmp_path / "out" / "in" / "left_out.txt").read_text()
    assert told.count("leads out of the folder") == len(names)


def test_damaged_members_and_archives_are_told_in_a_line(script, photos, tmp_path, capsys):
    archive = zipped(photos, tmp_path / "z.zip")
    content = bytearray(archive.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 200] ^= 0xFF  # in the first picture: its CRC is wrong
    archive.write_bytes(content)
    assert script.main([str(archive), "-o", str(tmp_path / "out"), *FLAGS]) == 0
    assert "damaged in the archive" in (tmp_path / "out" / "left_out.txt").read_text()
    (tmp_path / "half.zip").write_bytes(content[: len(content) // 2])
    for source in ("half.zip", "absent.zip"):
        assert script.main([str(tmp_path / source), "-o", str(tmp_path / "two")]) == 2
        assert source in capsys.readouterr().err
    empty = tmp_path / "empty.zip"
    zipfile.ZipFile(empty, "w").close()
    assert script.main([str(empty), "-o", str(tmp_path / "three")]) == 2


def test_a_first_few_are_prepared_and_read_by_the_training_set(script, photos, tmp_path):
    from fst.data.photos import read_photo
    from fst.io import images

    out = tmp_path / "out"
    assert script.main([str(photos), "-o", str(out), *FLAGS, "--limit", "2"]) == 0
    (first, *_) = found = images.find(out)
    assert len(found) == len(pictures_in(out)) >= 1
    assert read_photo(first, 40).shape[0] == 3


def test_a_member_that_claims_to_be_small_takes_no_memory(script, photos, tmp_path):
    claimed, true = 5_000, 100_000_000
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(photos / "a.jpg", "a.jpg", zipfile.ZIP_STORED)
        archive.writestr("bomb.jpg", bytes(true))
        archive.writestr("bomb.png", bytes(9), zipfile.ZIP_BZIP2)
    content = (tmp_path / "z.zip").read_bytes()
    assert content.count(true.to_bytes(4, "little")) == 2  # beside the member, and in the list
    (tmp_path / "z.zip").write_bytes(
        content.replace(true.to_bytes(4, "little"), claimed.to_bytes(4, "little"))
    )
    tracemalloc.start()
    try:
        assert script.main([str(tmp_path / "z.zip"), "-o", str(tmp_path / "out"), *FLAGS]) == 0
        assert tracemalloc.get_traced_memory()[1] < true / 5
    finally:
        tracemalloc.stop()
    told = (tmp_path / "out" / "left_out.txt").read_text()
    assert "bomb.jpg: damaged in the archive" in told and "bomb.png: packed in a way" in told
    assert set(pictures_in(tmp_path / "out")) == {"a.jpg"}


@pytest.mark.parametrize(
    "wrong",
    [["--limit", "0"], ["--size", "0"], ["--quality", "0"], ["--quality", "101"], ["-o", "photos"],
     ["-o", "photos/small"], ["absent"]],
    ids=" ".join,
)  # fmt: skip
def test_what_makes_no_sense_is_told_and_nothing_is_written(
    wrong, script, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    given = wrong if wrong == ["absent"] else ["photos", *wrong]
    assert script.main(["-o", "out", *given]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert set(tmp_path.rglob("*")) == before


# Downloads


class Server(ThreadingHTTPServer):
    """Serves one content, closing the connection after `limit` bytes of an answer."""

    content, limit, ranges, requests = b"", None, True, []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if self.path == "/gone.zip":
            self.send_error(404)
            return
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and server.ranges else 0
        body = server.content[start:]
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(photos, tmp_path):
    buffer = BytesIO(zipped(photos, tmp_path / "served.zip").read_bytes())
    with Server(("127.0.0.1", 0), _Handler) as made:
        made.content, made.requests = buffer.getvalue(), []
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def wanted(server, script):
    """The download that the server has."""
    port = server.server_address[1]
    digest = hashlib.sha256(server.content).hexdigest()
    return script.Download(f"http://127.0.0.1:{port}/set.zip", len(server.content), digest)


def fetch(script, wanted, path, **kwargs):
    counted = []
    result = script.fetch(wanted, path, counted.append, pause_s=0.01, **kwargs)
    assert sum(counted) == wanted.size_bytes
    return result


def test_a_broken_connection_is_taken_up_where_it_stopped(server, script, wanted, tmp_path):
    server.limit = len(server.content) // 3
    path = fetch(script, wanted, tmp_path / "got" / "set.zip")
    assert path.read_bytes() == server.content
    third = server.limit
    assert server.requests[:3] == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    assert [file.name for file in path.parent.iterdir()] == ["set.zip"]


def test_what_an_earlier_call_left_is_continued(server, script, wanted, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(server.content[:1000])
    assert fetch(script, wanted, tmp_path / "set.zip").read_bytes() == server.content
    assert server.requests == ["bytes=1000-"]
    fetch(script, wanted, tmp_path / "set.zip")  # there: nothing is asked for
    assert len(server.requests) == 1


def test_a_server_that_knows_no_ranges_sends_all_of_it(server, script, wanted, tmp_path):
    server.ranges = False
    (tmp_path / "set.zip.part").write_bytes(b"x" * 500)
    assert fetch(script, wanted, tmp_path / "set.zip").read_bytes() == server.content


def test_another_file_is_removed_and_refused(server, script, wanted, tmp_path):
    server.content = bytes(len(server.content))
    with pytest.raises(FstError, match="SHA-256"):
        script.fetch(wanted, tmp_path / "set.zip", pause_s=0.01)
    server.content += b"more"
    with pytest.raises(FstError, match="more than"):
        script.fetch(wanted, tmp_path / "set.zip", pause_s=0.01)
    assert not (tmp_path / "set.zip").exists()


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/x", "x"])
def test_other_addresses_are_not_read(address, script, tmp_path):
    wanted = script.Download(address, 10, "0" * 64)
    with pytest.raises((FstError, ValueError)):
        script.fetch(wanted, tmp_path / "set.zip", pause_s=0.001)
    assert not list(tmp_path.iterdir())


def test_a_silent_server_is_given_up_in_a_line(server, script, wanted, tmp_path):
    server.limit = 0
    with pytest.raises(FstError, match="run again to go on"):
        script.fetch(wanted, tmp_path / "set.zip", pause_s=0.001)
    gone = wanted._replace(url=wanted.url.replace("set.zip", "gone.zip"))
    with pytest.raises(FstError, match="404"):
        script.fetch(gone, tmp_path / "set.zip", pause_s=0.001)


def test_downloaded_and_prepared_in_one_call(server, script, wanted, tmp_path, monkeypatch):
    monkeypatch.setitem(script.COCO, "val2017", wanted)
    out = tmp_path / "out"
    arguments = ["--download", "val2017", "--archives", str(tmp_path / "zips"), "-o", str(out)]
    assert script.main([*arguments, *FLAGS]) == 0
    assert len(pictures_in(out)) == 4
    assert json.loads((out / "prepared.json").read_bytes())["size"] == 80
