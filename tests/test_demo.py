"""fst-demo without a browser: its command paints what the page paints, and what it refuses."""

import asyncio
import base64
import io
import os
import shlex
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from fst import FstError, Stylizer
from fst.cli import demo, infer
from fst.demo import painting, visit
from fst.demo import server as folders
from fst.demo.controls import arguments, choose, command, file_name
from fst.demo.painting import MASK_BYTES, Limits, mask_bytes, open_photo
from fst.demo.server import PREFIX, Guard, launch, temporary_folder
from fst.demo.visit import Studio, Thumbnails, Values, reordered
from fst.io import images
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, save_style_model
from fst.stylize.options import PaintOptions

# Names that a shell or fst-infer could take for something else.
NAMES = ["wave", "starry night", "-dash", "it's $HOME", "a=b", "wave fine", "wave coarse"]
SOME = Limits(preview_px=48)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Seven styles; the last two show one painting, and so are a texture line."""
    torch.manual_seed(0)
    network = TransformerNet(len(NAMES), 0.125, num_blocks=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    styles = [{"name": name, "images": ["a.jpg"]} for name in NAMES]
    for style in styles[-2:]:
        style["fingerprint"] = "same"
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    return save_style_model(path, network.eval(), describe(network, styles, {}))


@pytest.fixture(scope="module")
def stylizer(model):
    return Stylizer(model)


@pytest.fixture
def studio(stylizer, model, tmp_path):
    (tmp_path / "cache").mkdir()
    flags = ["--model", str(model), "--device", "cpu"]
    return Studio(stylizer, SOME, tmp_path / "cache", flags)


def values(photo, **changed):
    """What the page holds when it has just been opened, but for some controls."""
    strokes = next(iter(visit.STROKES))
    start = Values(photo, ["wave"], 0.5, 0.5, 0.5, 0.5, 1.0, 0.0, strokes, 1.0, "", "wave", {})
    return start._replace(**changed)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def drawn(seed):
    """A mask as the brush hands it over."""
    random = np.random.default_rng(seed)
    level = 255 * (random.random((6, 8)) > 0.5).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(png(level)).decode()


def save_photo(path, size=(40, 34), seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return path


def by_command(line, folder):
    """The file that fst-infer writes when the line is given in the folder."""
    before, here = set(folder.iterdir()), Path.cwd()
    os.chdir(folder)
    try:
        assert infer.main(shlex.split(line)[1:]) == 0
    finally:
        os.chdir(here)
    (written,) = set(folder.iterdir()) - before
    return written


def paints_the_same(studio, folder, asked):
    """The page's file and its preview against what the command writes."""
    seen = studio.preview(asked)
    for mask in seen.mask_files:
        (folder / mask.name).write_bytes(mask.read_bytes())
    written = by_command(seen.command, folder)
    painted = studio.paint(asked, "visitor", lambda share: None)
    assert painted.name == written.name == seen.output
    assert painted.read_bytes() == written.read_bytes()
    written.unlink()
    small = by_command(f"{seen.command} --size {asked.photo.small_px} -o small.png", folder)
    assert np.array_equal(np.asarray(seen.after), np.asarray(Image.open(small).convert("RGB")))
    small.unlink()


# ---- the command -------------------------------------------------------------------------------


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink would take minutes
)
@given(
    chosen=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
    shares=st.lists(st.floats(0.05, 1), min_size=4, max_size=4),
    strength=st.floats(0, 1.5),
    texture=st.floats(0, 1),
    size=st.sampled_from(["auto", "native"]) | st.floats(0.5, 3),
    colors=st.sampled_from(list(visit.KEEP_COLORS)),
    other=st.sampled_from(NAMES),
    seeds=st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)),
)
def test_the_command_paints_what_the_page_paints(
    studio, tmp_path_factory, chosen, shares, strength, texture, size, colors, other, seeds
):
    folder = tmp_path_factory.mktemp("there")
    photo = studio.open(save_photo(folder / "photo.png"), "photo.png")
    brushed = {k: drawn(s) for k, s in zip(("other", "where"), seeds, strict=True) if s is not None}
    asked = values(
        photo,
        chosen=chosen,
        **{f"share{i + 1}": share for i, share in enumerate(shares)},
        strength=strength,
        texture=texture,
        strokes=list(visit.STROKES)[1 if isinstance(size, float) else 2 * (size == "native")],
        texture_size=size if isinstance(size, float) else 1.0,
        colors=colors,
        other_style=other,
        masks=studio.masks(photo, brushed),
    )
    paints_the_same(studio, folder, asked)


@pytest.mark.parametrize(
    "name", ["photo.jpg", "-o.png", "two words; rm 'x'.jpeg", "[ab]*.webp", "~.tif", "no suffix"]
)
def test_names_of_photos_reach_the_command_whole(studio, tmp_path, name):
    folder = tmp_path / "there"
    folder.mkdir()
    picture = Image.open(save_photo(tmp_path / "a.png"))
    picture.save(folder / name, images.FORMATS.get(Path(name).suffix, "PNG"))
    photo = studio.open(folder / name, file_name(f"C:\\photos\\{name}"))
    paints_the_same(studio, folder, values(photo, chosen=["starry night"], strength=0.5))


@pytest.mark.parametrize(
    "name", ["wave=b.png", "\N{ARTIST PALETTE}" * 62 + ".png"], ids=["a style's", "long"]
)
def test_names_of_masks_reach_the_command_whole(studio, tmp_path, name):
    folder = tmp_path / "there"
    folder.mkdir()
    photo = studio.open(save_photo(folder / name), file_name(name))
    masks = studio.masks(photo, {"where": drawn(1), "other": drawn(2)})
    assert set(masks) == {"where", "other"}
    paints_the_same(studio, folder, values(photo, masks=masks, other_style="starry night"))


def test_without_a_photo_the_sample_is_painted(studio, tmp_path):
    (tmp_path / "there").mkdir()
    paints_the_same(studio, tmp_path / "there", values(studio.sample, chosen=["-dash"]))


def test_in_bands_the_command_gives_the_same_picture(studio, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    photo = studio.open(save_photo(tmp_path / "there/p.png", (200, 160)), "p.png")
    monkeypatch.setattr(painting, "PROCESS_BYTES", SOME.memory_bytes)  # nothing left to paint whole
    seen = studio.preview(values(photo))
    assert seen.command.endswith("--max-memory 2048M --style wave")
    told = []
    banded = studio.paint(values(photo), "me", told.append)
    assert told[-1] == 1 and len(told) > 2
    whole = by_command(seen.command, tmp_path / "there")
    difference = np.asarray(Image.open(banded), int) - np.asarray(Image.open(whole), int)
    assert np.abs(difference).max() <= 1


def test_a_style_of_share_zero_is_left_out(stylizer):
    chosen = choose(["wave", "a=b"], [0.3, 0.0], PaintOptions())
    assert arguments(chosen, "p.png", []) == ["p.png", "--style", "wave"]
    assert command(["it's"]) == """fst-infer 'it'"'"'s'"""
    with pytest.raises(FstError, match="all shares are 0"):
        choose(["wave", "a=b"], [0, 0.0001], PaintOptions())
    with pytest.raises(FstError, match="no style is chosen"):
        choose([], [], PaintOptions())
    with pytest.raises(FstError, match="at most 4"):
        choose(list("abcde"), [1] * 5, PaintOptions())


def test_a_click_keeps_order_and_shares_and_a_fifth_style_is_refused():
    assert reordered(["b", "a"], [0.2, 0.9, 0.5, 0.5], ["a", "b", "c"]) == (
        ["b", "a", "c"],
        [0.2, 0.9, 0.5, 0.5],
    )
    assert reordered(["b", "a"], [0.2, 0.9, 0.5, 0.5], ["a"]) == (["a"], [0.9, 0.5, 0.5, 0.5])
    with pytest.raises(FstError, match="at most 4"):
        reordered(["a"], [1.0], list("abcde"))


def test_texture_is_asked_for_only_on_a_line(studio):
    assert studio.texture_place(["wave"]) is None
    assert studio.texture_place(["wave coarse"]) == 1.0
    assert studio.texture_place(["wave fine", "wave coarse"]) is None
    seen = studio.preview(values(studio.sample, chosen=["wave fine"], texture=0.25))
    assert seen.command.endswith("--style 'wave fine' --texture 0.25")


# ---- what comes in -----------------------------------------------------------------------------


def test_what_is_too_large_is_refused_with_the_limit(tmp_path):
    photo = save_photo(tmp_path / "secret.png", (400, 300))
    with pytest.raises(FstError) as told:
        open_photo(photo, "mine.png", replace(SOME, pixels=100_000))
    assert "mine.png: 400x300 px, 0.1 megapixels, are more" in str(told.value)
    assert "0.1 megapixels): shrink it" in str(told.value)
    with pytest.raises(FstError, match=r"mine\.png: 0 MiB are more .*\(0.000954 MiB and"):
        open_photo(photo, "mine.png", replace(SOME, upload_bytes=1000))


@pytest.mark.parametrize("cut", [0, 10, 500])
def test_a_broken_photo_is_told_by_its_owners_name(tmp_path, cut):
    path = save_photo(tmp_path / "secret.png", (90, 80))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FstError) as told:
        open_photo(path, "mine.png", SOME)
    assert "mine.png" in str(told.value) and "secret" not in str(told.value)
    with pytest.raises(FstError, match=r"tiny\.png: 9x9 px is below 16 px a side"):
        open_photo(save_photo(tmp_path / "b.png", (9, 9)), "tiny.png", SOME)


@pytest.mark.parametrize("size", [(3000, 20), (20, 3000), (100, 80), (2000, 1000)])
def test_previews_stay_small_whatever_the_shape(tmp_path, size):
    photo = open_photo(save_photo(tmp_path / "p.png", size), "p.png", Limits(preview_px=128))
    height, width = photo.small.shape[1:]
    assert height * width <= max(128 * 128 * 3.1, 16 * max(size)) and min(height, width) >= 16


def test_a_picture_that_the_command_would_take_for_a_video_is_refused(studio, tmp_path):
    photo = save_photo(tmp_path / "p.png")
    with pytest.raises(FstError, match=r"dance\.GIF is named as a video or GIF"):
        studio.open(photo, "dance.GIF")
    with pytest.raises(FstError, match=r"clip\.gif: GIF is not a format"):
        photo.write_bytes(b"GIF89a")
        studio.open(photo, "clip.gif")


def test_a_photo_that_is_gone_is_asked_for_again(studio, tmp_path):
    photo = studio.open(save_photo(tmp_path / "secret.png"), "mine.png")
    photo.path.unlink()
    with pytest.raises(FstError, match=r"mine\.png") as told:
        studio.paint(values(photo), "me", lambda share: None)
    assert "secret" not in str(told.value)


def test_masks_are_pictures_of_a_brush_or_refused(studio, tmp_path):
    assert mask_bytes("") is None and mask_bytes(None) is None
    for url, told in (
        (["list"], "no PNG"),
        ("http://elsewhere/mask.png", "no PNG"),
        ("data:image/png;base64," + "A" * 2 * MASK_BYTES, "larger than"),
        ("data:image/png;base64,%%%", "damaged"),
    ):
        with pytest.raises(FstError, match=told):
            mask_bytes(url)
    photo = studio.sample
    with pytest.raises(FstError, match="cannot read the mask: it is not a picture"):
        studio.masks(photo, {"where": "data:image/png;base64,AAAA"})
    assert set(studio.masks(photo, {"where": drawn(0), "other": ""})) == {"where"}
    monster = png(np.zeros((2000, 2000), np.uint8))
    with pytest.raises(FstError, match="2000x2000 pixels; expected at most 1000000"):
        painting.read_mask(monster, tmp_path / "m.png")
    assert painting.read_mask(png(np.zeros((9, 9), np.uint8)), tmp_path / "n.png") is None
    (tmp_path / "file").touch()
    with pytest.raises(FstError, match="cannot write the mask"):
        painting.read_mask(png(np.ones((9, 9), np.uint8)), tmp_path / "file" / "m.png")


@pytest.mark.parametrize(
    ("claimed", "kept"),
    [("../../etc/passwd", "passwd"), ("..", "photo"), ("", "photo"), (None, "photo"),
     ("a\nb.png", "a_b.png"), ("C:\\x\\y.jpg", "y.jpg"), ("x" * 999, "x" * 255)],
)  # fmt: skip
def test_file_names_lead_nowhere(claimed, kept):
    assert file_name(claimed) == kept


# ---- visitors ----------------------------------------------------------------------------------


def test_painting_ends_when_the_visitor_leaves(studio, tmp_path, monkeypatch):
    photo = studio.open(save_photo(tmp_path / "p.png", (64, 48)), "p.png")
    monkeypatch.setattr(painting, "PROCESS_BYTES", SOME.memory_bytes)

    def progress(share):
        studio.leave("another")  # stays without effect
        studio.leave("me")

    with pytest.raises(FstError, match="the visitor has left"):
        studio.paint(values(photo), "me", progress)
    assert studio.paint(values(photo), "me", lambda share: None).is_file()  # comes back


def test_thumbnails_come_one_by_one_and_once_for_all(stylizer):
    drawn = Thumbnails(stylizer, [2, 0, 1])
    counts = [[len(painted) for painted in drawn.follow()] for _ in range(2)]
    assert counts[0] == sorted(counts[0]) and counts[0][-1] == counts[1][-1] == 3
    urls = list(drawn.follow())[-1]
    assert set(urls) == {0, 1, 2} and len(set(urls.values())) == 3
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls.values())


def test_thumbnails_of_damaged_weights_end(model, tmp_path):
    stylizer = Stylizer(model)
    stylizer.network.conv_in.norm.gamma.fill_(torch.nan)
    assert list(Thumbnails(stylizer, [0, 1]).follow())[-1] == {}


# ---- the folder --------------------------------------------------------------------------------


def test_the_folder_is_private_and_gone_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyError), temporary_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "photo.png").write_bytes(b"x")
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_page_has_left_is_removed_and_a_running_one_kept(tmp_path):
    code = (
        "import sys, time; from fst.demo.server import temporary_folder\n"
        "with temporary_folder() as f: print(f, flush=True); time.sleep(60)"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    (tmp_path / f"{PREFIX}mine").mkdir()  # of somebody who has no lock in it
    piped = {"stdout": subprocess.PIPE, "text": True, "env": env}
    run = [subprocess.Popen([sys.executable, "-c", code], **piped) for _ in range(2)]
    try:
        killed, alive = [Path(process.stdout.readline().strip()) for process in run]
        run[0].kill()
        run[0].wait()
        subprocess.run([sys.executable, "-c", code.replace("60", "0")], env=env, check=True)
        assert not killed.exists() and alive.is_dir() and (tmp_path / f"{PREFIX}mine").is_dir()
    finally:
        for process in run:
            process.kill()


def test_a_page_that_starts_is_not_taken_for_an_abandoned_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lock, looked = folders._try_lock, []

    def lock_after_another_has_looked(file):
        if not looked:
            looked.append(True)
            folders._remove_abandoned(*tmp_path.iterdir())
        return lock(file)

    monkeypatch.setattr(folders, "_try_lock", lock_after_another_has_looked)
    with temporary_folder() as folder:
        assert looked and folder.is_dir()
    assert not list(tmp_path.iterdir())


# ---- the server --------------------------------------------------------------------------------


def ask(method="POST", path="/gradio_api/queue/join", length=b"10", site=b"same-origin"):
    """Status and headers of a request through the guard, or "passed"."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 299, "headers": []})

    async def send(message):
        sent.append(message)

    headers = [(b"content-length", length)] if length is not None else []
    headers += [(b"sec-fetch-site", site)] if site else []
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(Guard(app, 5_000_000)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


def test_the_guard_lets_pass_what_is_small_and_tells_the_browser_to_ask_nobody_else():
    status, headers = ask()
    assert status == 299 and b"default-src 'self'" in headers[b"content-security-policy"]
    assert ask("GET", "/", None)[0] == 299
    assert ask(path="/gradio_api/upload", length=b"5000000")[0] == 299
    assert ask(path="/gradio_api/upload", length=b"5200000")[0] == 413
    assert ask(length=b"5000000")[0] == 413
    assert ask(length=None)[0] == ask(length=b"-5")[0] == 411
    assert ask(site=b"cross-site")[0] == 403 and ask(site=None)[0] == 299
    assert ask("GET", "/", None, b"cross-site")[0] == 299  # a link from elsewhere
    assert ask("GET", "/monitoring/x")[0] == ask(path="/gradio_api/process_recording")[0] == 404


def test_gradio_fetches_no_url_in_the_place_of_a_file():
    pytest.importorskip("gradio")
    from gradio import processing_utils
    from gradio.components import File

    from fst.demo.server import refuse_urls

    refuse_urls()
    payload = {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(ValueError, match="not from other hosts"):
        asyncio.run(processing_utils.async_move_files_to_cache(payload, File()))


@pytest.mark.parametrize(
    "arguments",
    [["--port", "0"], ["--port", "x"], ["--size", "9"], ["--max-megapixels", "301"], ["photo.jpg"]],
)
def test_wrong_arguments_end_with_2(arguments):
    with pytest.raises(SystemExit) as ended:
        demo.main(arguments)
    assert ended.value.code == 2


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert demo.main([]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told == ["fst-demo: error: the page needs gradio: pip install 'fst[demo]'"]


def test_a_model_that_is_not_there_ends_with_2(tmp_path, capsys):
    pytest.importorskip("gradio")
    assert demo.main(["--model", str(tmp_path / "none.safetensors")]) == 2
    assert "no such model" in capsys.readouterr().err


def test_other_hosts_are_warned_of_and_a_stop_ends_it(model, monkeypatch, capsys, tmp_path):
    pytest.importorskip("gradio")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = {}

    def launch(page, host, port, upload_bytes):
        asked.update(host=host, port=port, upload_bytes=upload_bytes)
        return "http://there/"

    monkeypatch.setattr("fst.demo.server.launch", launch)
    args = demo.make_parser().parse_args(["--model", str(model), "--host", "0.0.0.0"])
    stop = threading.Event()
    stop.set()
    assert demo.serve(args, stop) == 0
    told = capsys.readouterr()
    assert told.out == "http://there/\n" and "warning: 0.0.0.0 lets everyone" in told.err
    assert asked == {"host": "0.0.0.0", "port": None, "upload_bytes": 50 * 2**20}
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_a_taken_port_is_told_in_one_line(model, capsys):
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert demo.main(["--model", str(model), "--port", port]) == 2
    told = capsys.readouterr()
    assert told.out == "" and f"cannot listen on 127.0.0.1:{port}: the port is taken" in told.err


@pytest.mark.parametrize("host", ["::1", "[::1]", "127.0.0.1"])
def test_every_address_of_this_machine_can_be_named(host):
    gradio = pytest.importorskip("gradio")
    bare, family = host.strip("[]"), socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((bare, 0), family=family) as free:
            port = free.getsockname()[1]
    except OSError:
        pytest.skip("no IPv6 here")
    with gradio.Blocks() as page:
        gradio.HTML("")
    try:
        assert launch(page, host, port, 1000).rstrip("/").endswith(f":{port}")
        with socket.create_connection((bare, port), timeout=5):
            pass
    finally:
        page.close(verbose=False)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_another_address_is_told_in_one_line(model, host, capfd):
    pytest.importorskip("gradio")
    assert demo.main(["--model", str(model), "--host", host]) == 2
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 2 and "warning" in told[0]
    assert f"cannot listen on {host}" in told[1]


@pytest.mark.parametrize("given", ["--help", "--bogus"])
def test_help_and_mistyped_flags_are_quick_and_import_nothing_heavy(given):
    heavy = ("torch", "gradio", "PIL", "numpy")
    code = (
        "import sys; from fst.cli.demo import main\n"
        f"try: main([{given!r}])\n"
        "except SystemExit: print([m for m in "
        f"{heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
