"""Wrong arguments are told in one line that says which, with exit code 2; nothing is written."""

import os
import shutil

import pytest
import torch
from conftest import smooth_field

from fst.cli import commands, demo, export, gatys, gram, infer, styles, train
from fst.networks.transformer import TransformerNet
from fst.style_model import names as model_names
from fst.style_model.format import describe, save_style_model

# Each line: arguments as in a shell without quoting, " | ", what the message must hold.
# W stands for --loss-weights slim.safetensors, which spares seconds.
TRAIN = """
W | --styles: give at least one style picture
--styles | --styles
--styles none.jpg W | no such file or folder: none.jpg
--styles folder W | no picture
--styles broken.png W | cannot read broken.png
--styles a.png broken.png none.jpg W | broken.png
--styles a.png W --content nowhere | --content: no such file or folder: nowhere
--styles a.png W --content folder | --content: no picture
--styles a.png W --held-out nowhere | nowhere
--styles a.png W --size 8 | --size 8: crops must be at least 32 px
--styles a.png W --size 0 | size
--styles a.png W --size big | size
--styles a.png W --style-size 16 | --style-size 16: must be at least 32 px
--styles a.png W --style-size 64 65 66 | --style-size has 3 numbers, --styles 1
--styles a.png b.png W --style-weight 1 2 3 | --style-weight has 3 numbers, --styles 2
--styles a.png W --batch-size 0 | --batch-size: expected
--styles a.png W --batch-size -4 | batch
--styles a.png W --steps many | --steps: expected a whole number from 1 up
--styles a.png W --steps 1.5 | --steps: expected a whole number from 1 up
--styles a.png W --style-weight -1 | --style-weight: expected a number from 0 up
--styles a.png W --width 0 | --width: expected a number above 0
--styles a.png W --lr 0 | lr
--styles a.png W --lr fast | lr
--styles a.png W --lr nan | lr
--styles a.png W --width -1 --from-scratch | width
--styles a.png W --num-blocks -1 | num
--styles a.png W --seed -1 | seed
--styles a.png W --rows-first -1 | rows
--styles a.png W --save-every 0 | --save-every: expected
--styles a.png W --num-workers -1 | num
--styles a.png W --bogus 3 | --bogus
--styles a.png W --warm-start none.safetensors | none.safetensors
--styles a.png W --warm-start a.png | a.png
--styles a.png W --warm-start | warm-start
--styles a.png W --warm-start model.safetensors --from-scratch | give one of them
--styles a.png W --add-to model.safetensors --from-scratch | give one of them
--styles a.png W --add-to none.safetensors | none.safetensors
--styles wave.png W --add-to model.safetensors | has wave already
--styles a.png W --tune-trunk | --tune-trunk goes with --add-to MODEL
--styles a.png W --warm-start model.safetensors --width 0.25 | it has width 0.0625
--styles a.png W --resume none.ckpt | none.ckpt: no such checkpoint
--styles a.png W --resume a.png | a.png
--styles a.png W --resume model.safetensors | model.safetensors
--styles a.png W --resume none.ckpt --from-scratch | leave out --from-scratch
--styles a.png --loss-weights none.pth | none.pth: no such loss network
--styles a.png --loss-weights a.png | a.png: not a readable weights file
--styles a.png --loss-weights model.safetensors | model.safetensors
--styles a.png --loss-network vgg23 | vgg23: no such loss network
--styles a.png W --content-layer relu9_9 | no layer relu9_9
--styles a.png W --style-layers relu1_1 relu9_9 | no layer relu9_9
--styles a.png W --style-loss vibes | vibes
--styles a.png W --style-loss eigen top=0 | top
--styles a.png W --style-loss eigen top=999% | top
--styles a.png W --style-loss gram colour=red | colour
--styles a.png W --style-loss meanstd --classic-weights | has no classic form
--styles a.png W --content-weight -1 | --content-weight: expected a number from 0 up
--styles a.png W --tv-weight inf | --tv-weight inf
--styles a.png W --lr inf | --lr inf
--styles a.png W --style-weight 1e999 | --style-weight inf
--styles a.png W --width inf --from-scratch | --width inf
--styles a.png W --width 17 --from-scratch | --width 17
--styles a.png W --num-blocks 65 --from-scratch | --num-blocks 65
--styles a.png W --grid-weight x | grid
--styles a.png W -o a.png | a.png
--styles a.png W -o done | done holds a run already
--styles a.png W --trainer.accelerator abacus | abacus
--styles a.png W --trainer.devices [1 | devices
--styles a.png W --trainer.precision 12 | precision
--styles a.png W --trainer.bogus 1 | trainer.bogus
--styles a.png W --trainer.max_steps 3 | trainer.max_steps
--config none.yaml | none.yaml
--config a.png | --config a.png: cannot be read
--config list.yaml | list.yaml
--config broken.yaml | --config broken.yaml: cannot be read
--config unknown.yaml | colour
--config deep.yaml | --config deep.yaml: is nested too deep
--config bomb.yaml | --config bomb.yaml: the file holds too many values
--config large.yaml | --config large.yaml: is larger than settings are
--config class.yaml | --config class.yaml: trainer.callbacks names a class
--config added.yaml | --config added.yaml: trainer.callbacks+ names a class
--config classes.yaml | --config classes.yaml: trainer.logger names a class
--config dotted.yaml | --config dotted.yaml: trainer.plugins names a class
--config named.yaml | --config named.yaml: trainer.strategy names a class or a file
--config python.yaml | --config python.yaml: cannot be read
--config nested.yaml | --config nested.yaml: names another file
--config text.yaml | trainer is no list of names and values
--config style.yaml W | unknown key 'class_path'
"""

INFER = """
none.png M | no such file or folder: none.png
folder M | no picture
none*.png M | no picture matches
a.png b.png none.png M | none.png
a.png --model none.safetensors | none.safetensors: no such model
a.png --model a.png | a.png: not a readable style model
a.png --model slim.safetensors | not a style model of fst
a.png --model folder | folder: no such model
a.png --model | --model
a.png M --style wafe | did you mean wave?
a.png M --style | --style
a.png M --style-id 9 | style id 9 is out of range
a.png M --style-id -1 | style id -1 is out of range
a.png M --style-id one | is not a style id
a.png M --style wave=0.5 rain | its share
a.png M --style wave=much rain=1 | is no share
a.png M --style wave=0 rain=0 | one above 0
a.png M --style wave=0.5 rain=0.5 --all-styles | leave out
a.png M --style wave=0.5 none=0.5 | no style 'none'
M --style wave a.png | pictures go before --style
a.png M --blend-grid wave | blend
a.png M --blend-grid wave rain --style wave | leave out --style
a.png M --blend-grid wave none | no style 'none'
a.png M --blend-grid wave rain --max-memory 2G | leave out --max-memory
M --blend-grid wave rain a.png | pictures go before it
a.png M --strength 2 | from 0 to 1.5
a.png M --strength -1 | --strength
a.png M --strength=nan | from 0 to 1.5
a.png M --texture 2 | from 0 to 1
a.png M --texture 0.5 | has no texture to choose
a.png M --texture-size 9 | from 0.5 to 3
a.png M --size 3 | is not a whole number from 16 up
a.png M --size 1e3 | is not a whole number
a.png M --size 99999999999 | is not a whole number
a.png M --bits 12 | --bits
a.png M --bits 16 -o new.jpg | 16 bits go into .png
a.png M --device tpu | is none of cpu, cuda
a.png M --device cuda:7 | cuda:7
a.png M --precision fp8 | --precision
a.png M --keep-colors all | --keep-colors
a.png M --mask none.png | none.png
a.png M --mask none=a.png | no style 'none'
a.png M --mask wave=a.png --mask wave=b.png | there is one for wave already
a.png M --mask broken.png | broken.png
a.png M --max-memory lots | is no amount of memory
a.png M --max-memory 0 | is no amount of memory
a.png M --bogus | --bogus
a.png M -o a.png | is an input picture and stays
a.png M -o b.png | b.png exists
a.png M -o list.yaml | is a file; name a folder
a.png b.png M -o new.png | 2 pictures are to be written
a.png M --all-styles -o new.png | 2 pictures are to be written
a.png M -o list.yaml/out | list.yaml is a file
--list-styles --model none.safetensors | none.safetensors
none.mp4 M | no such file: none.mp4
none*.gif M | no such file: none*.gif
clip.gif none.mp4 M | no such file: none.mp4
a.png M --steady | --steady
a.png M --steady 2 | is not a number from 0 to 1
a.png M --steady -1 | --steady
a.png M --steady much | is not a number from 0 to 1
a.png M --steady nan | is not a number from 0 to 1
a.png M --steady 0.5 | --steady is for videos
a.png b.png M --sequence 0 | is not a number of frames a second
a.png b.png M --sequence 25/0 | is not a number of frames a second
a.png b.png M --sequence 99999 | is not a number of frames a second
M --sequence a.png b.png | pictures go before --sequence
M --sequence | --sequence
none.png M --sequence | none.png
folder M --sequence | no picture
clip.gif M --sequence | --sequence
clip.gif a.png M | leave out a.png, or the videos
clip.gif M --devices 2 | --devices
clip.gif M --num-nodes 2 | --num-nodes
clip.gif M --resume | --resume
clip.gif M --bits 16 | --bits
clip.gif M --max-memory 2G | --max-memory
clip.gif M --fast-statistics | --fast-statistics
clip.gif M --blend-grid wave rain | --blend-grid
clip.gif M --style wafe | did you mean wave?
clip.gif M --style-id 9 | style id 9 is out of range
clip.gif M --style wave=0 rain=0 | one above 0
clip.gif M --texture 0.5 | has no texture to choose
clip.gif M --mask none.png | none.png
clip.gif M --device cuda:7 | cuda:7
clip.gif M -o clip.gif | is an input
clip.gif M -o taken.gif | taken.gif exists
clip.gif M -o new.png | new.png
clip.gif M -o list.yaml | is a file
clip.gif M -o list.yaml/new.gif | list.yaml
clip.gif M --all-styles -o new.gif | is one file, but 2 clips are to be written
a.png b.png M --sequence -o b.png | b.png
"""

GATYS = """
| give --content PICTURE
--content a.png W | give --style PICTURE
--style a.png W | give --content PICTURE
--content none.png --style a.png W | cannot read none.png
--content broken.png --style a.png W | cannot read broken.png
--content folder --style a.png W | is a folder
--content a.png --style a.png W -o - | -o -: fst-gatys writes files
--content a.png --style none.png W | no such file or folder: none.png
--content a.png --style folder W | no picture
--content a.png --style broken.png W | cannot read broken.png
--texture --content a.png --style b.png W | --texture takes no --content
--texture W | give --style PICTURE
--content a.png --style b.png W --start none.png | neither content nor noise nor a file
--content a.png --style b.png W --start broken.png | cannot read broken.png
--content a.png --style b.png W --size 0 | is not a whole number from 1 up
--content a.png --style b.png W --size big | is not a whole number from 1 up
--content a.png --style b.png W --size | --size: expected at least one
--content a.png --style b.png W --size 64 32 | ascending
--content a.png --style b.png W --size 8 | 8
--content a.png --style b.png W --style-size -3 | --style-size
--content a.png --style b.png W --steps 0 | is not a whole number from 1 up
--content a.png --style b.png W --size 32 64 --steps 1 2 3 | 3 numbers for 2 sizes
--content a.png --style b.png W --optimizer sgd | --optimizer
--content a.png --style b.png W --lr 0 | is not above 0
--content a.png --style b.png W --lr fast | is not a number
--content a.png --style b.png W --seed -1 | --seed
--content a.png --style b.png W --seed 1.5 | is not a whole number
--content a.png --style b.png W --device tpu | is none of cpu
--content a.png --style b.png W --device cuda:7 | cuda:7
--content a.png --style b.png W --precision fp8 | --precision
--content a.png --style b.png W --max-memory lots | is no amount of memory
--content a.png --style b.png W --pooling mean | --pooling
--content a.png --style b.png W --content-weight -1 | --content-weight
--content a.png --style b.png W --style-weight nan | is not a number from 0 up
--content a.png --style b.png W --tv-weight inf | is not a number from 0 up
--texture --style b.png W --aspect 0 | is not above 0
--content a.png --style b.png W --save-every 0 | is not a whole number from 1 up
--content a.png --style b.png --loss-weights none.pth | none.pth: no such loss network
--content a.png --style b.png --loss-weights a.png | a.png: not a readable weights file
--content a.png --style b.png --loss-network vgg23 | vgg23: no such loss network
--content a.png --style b.png W --content-layer relu9_9 | no layer relu9_9
--content a.png --style b.png W --style-layers relu9_9 | no layer relu9_9
--content a.png --style b.png W --style-loss vibes | vibes
--content a.png --style b.png W --style-loss eigen top=0 | top
--content a.png --style b.png W --style-loss meanstd --classic-weights | classic
--content a.png --style b.png W -o a.png | a.png exists
--content a.png --style b.png W -o a.png --overwrite | is an input picture and stays
--content a.png --style b.png W -o wave.png | wave.png exists
--content a.png --style b.png W -o list.yaml | is a file; name a folder
--content a.png --style b.png W -o list.yaml/out | list.yaml is a file
--content a.png --style b.png W --bogus | --bogus
--content a.png --style b.png W stray.png | stray.png
"""

GRAM = """
| PICTURE
none.png W | no such file or folder: none.png
folder W | no picture
none*.png W | no picture matches
broken.png W | cannot read broken.png
a.png none.png broken.png W | broken.png
small.png W | below 32 px a side
a.png W --size 8 | below 32 px a side
a.png W --size 0 | is not a whole number from 1 up
a.png W --size big | is not a whole number from 1 up
a.png W --layers relu9_9 | no layer relu9_9
a.png W --layers | --layers
a.png W --patches 3 | is not ROWSxCOLUMNS
a.png W --patches 0x3 | is not ROWSxCOLUMNS
a.png W --patches axb | is not ROWSxCOLUMNS
a.png W --patches 9x9 | take fewer patches
a.png W --patches 1x1x1 | is not ROWSxCOLUMNS
a.png W --synthesize vibes | vibes
a.png W --synthesize eigen=5 | eigen
a.png W --synthesize gram vibes none | vibes
a.png W --texture-size 8 | is not a whole number from 32 up
a.png W --texture-size x | is not a whole number
a.png W --steps 0 | is not a whole number from 1 up
a.png W --steps -1 | --steps
a.png W --seed -1 | --seed
a.png W --seed x | is not a whole number
a.png W --device tpu | is none of cpu
a.png W --device cuda:7 | cuda:7
a.png --loss-weights none.pth | none.pth: no such loss network
a.png --loss-weights a.png | a.png: not a readable weights file
a.png --loss-weights model.safetensors | model.safetensors
a.png --loss-network vgg23 | vgg23: no such loss network
a.png W -o list.yaml | is a file; name a folder
a.png W -o report | holds a report
a.png W --patches 1x1 -o list.yaml/out | list.yaml
a.png W --bogus | --bogus
"""

STYLES = """
| COMMAND
paint | paint
list none.safetensors | none.safetensors: no such model
list a.png | a.png: not a readable style
list slim.safetensors | not a style model of fst
list folder | folder: no such model
list model.safetensors more | more
list model.safetensors --in-place | --in-place
extract | MODEL
extract none.safetensors | none.safetensors
extract model.safetensors wafe | did you mean wave?
extract model.safetensors 9 | style id 9 is out of range
extract model.safetensors wave -o taken.style.safetensors | exists
extract model.safetensors -o new.safetensors | is one file for 2 styles
extract model.safetensors wave wave -o out | would get one file
extract model.safetensors wave -o list.yaml | list.yaml
extract model.safetensors wave -o list.yaml/out | list.yaml
extract twins.safetensors | would get one file
merge model.safetensors -o new.safetensors | FILE
merge model.safetensors taken.style.safetensors | required
merge model.safetensors none.safetensors -o new.safetensors | none.safetensors
merge model.safetensors a.png -o new.safetensors | a.png
merge model.safetensors other.safetensors -o new.safetensors | belongs to another network
merge model.safetensors taken.style.safetensors -o new.ckpt | style models end in .safetensors
merge model.safetensors taken.style.safetensors -o twins.safetensors | exists
merge model.safetensors taken.style.safetensors -o new.safetensors --in-place | not allowed with
remove model.safetensors -o new.safetensors | STYLE
remove model.safetensors none -o new.safetensors | no style 'none'
remove model.safetensors wave rain -o new.safetensors | a model needs at least one style
remove model.safetensors 2 -o new.safetensors | out of range
remove model.safetensors wave | required
remove gallery 0 --in-place | the shipped gallery stays as it is
rename model.safetensors wave -o new.safetensors | NAME
rename model.safetensors none new -o new.safetensors | no style 'none'
rename model.safetensors wave rain -o new.safetensors | two different styles are named 'rain'
rename model.safetensors wave a=b -o new.safetensors | is no name for a style
rename model.safetensors wave -x -o new.safetensors | NAME
rename model.safetensors wave new | required
rename model.safetensors wave new -o model.safetensors | exists
rename model.safetensors wave new -o list.yaml/new.safetensors | cannot write it
rename a.png wave new --in-place | a.png
"""

EXPORT = """
| no style model below checkpoints
gallery | none.safetensors: no such model
none.safetensors | none.safetensors: no such model
a.png | a.png: not a readable style model
broken.png -o new.pt2 | broken.png: not a readable style model
slim.safetensors | not a style model of fst
folder | folder: no such model
model.safetensors more.safetensors | more.safetensors
model.safetensors -o | -o
model.safetensors -o new | its suffix must be one of
model.safetensors -o new.txt | its suffix must be one of
model.safetensors -o new.safetensors | its suffix must be one of
model.safetensors -o new.onnx --format torch | ends in .pt2
model.safetensors -o new.pt2 --format onnx | ends in .onnx
model.safetensors -o new.pt2 --format card | ends in .md
model.safetensors --format | --format
model.safetensors --format tensorflow | --format
model.safetensors --format torch --fp16 | --fp16 is for ONNX
model.safetensors -o new.pt2 --fp16 | --fp16 is for ONNX
model.safetensors -o new.md --fp16 | --fp16 is for ONNX
model.safetensors --fp16=half | --fp16
model.safetensors --photos a.png | --photos is for a card
model.safetensors -o new.pt2 --photos a.png | --photos is for a card
model.safetensors -o new.md --photos | --photos
model.safetensors -o new.md --photos none.png | no such file or folder: none.png
model.safetensors -o new.md --photos none*.png | no picture matches
model.safetensors -o new.md --photos folder | no picture
model.safetensors -o new.md --photos broken.png | cannot read broken.png
model.safetensors --license | --license
model.safetensors --license my/own | is no name of a licence
model.safetensors -o taken.onnx | taken.onnx exists
model.safetensors -o taken.md | taken.md exists
model.safetensors -o wave.md | wave.jpg exists
model.safetensors -o folder.onnx | is a folder
model.safetensors -o list.yaml/new.onnx | list.yaml is a file
model.safetensors --bogus | --bogus
"""

DEMO = """
| no style model below checkpoints
--model | --model
--model gallery | none.safetensors: no such model
--model none.safetensors | none.safetensors: no such model
--model a.png | a.png: not a readable style model
--model broken.png | broken.png: not a readable style model
--model slim.safetensors | not a style model of fst
--model folder | folder: no such model
M --host | --host
M --host 192.0.2.1 --port 7860 | cannot listen on 192.0.2.1:7860
M --port | --port
M --port 0 | is not a port from 1 to 65535
M --port 65536 | is not a port from 1 to 65535
M --port -1 | is not a port from 1 to 65535
M --port http | is not a port from 1 to 65535
M --size 63 | is not a whole number 64 to 2048
M --size 4096 | is not a whole number 64 to 2048
M --size big | is not a whole number 64 to 2048
M --size 1e3 | is not a whole number 64 to 2048
M --max-upload | --max-upload
M --max-upload 0 | is no amount of memory
M --max-upload lots | is no amount of memory
M --max-megapixels 0 | is not a whole number 1 to 300
M --max-megapixels 301 | is not a whole number 1 to 300
M --max-megapixels 2.5 | is not a whole number 1 to 300
M --max-memory 0 | is no amount of memory
M --max-memory lots | is no amount of memory
M --device tpu | is none of cpu
M --device cuda:7 | cuda:7
M --precision fp8 | --precision
M --share | --share
M a.png | a.png
"""

MAINS = {"fst-train": train.main, "fst-infer": infer.main, "fst-gatys": gatys.main,
         "fst-gram": gram.main, "fst-styles": styles.main, "fst-export": export.main,
         "fst-demo": demo.main}  # fmt: skip
TABLES = {"fst-train": TRAIN, "fst-infer": INFER, "fst-gatys": GATYS, "fst-gram": GRAM,
          "fst-styles": STYLES, "fst-export": EXPORT, "fst-demo": DEMO}  # fmt: skip
NEEDS = {"fst-export": "onnx", "fst-demo": "gradio"}
SHORT = {"W": ["--loss-weights", "slim.safetensors"], "M": ["--model", "model.safetensors"]}

SETTINGS = {
    "list.yaml": "- 1\n- 2\n",
    "broken.yaml": "styles: [a.png\nsize: {",
    "unknown.yaml": "styles: a.png\ncolour: red\n",
    "deep.yaml": "- " * 200_000,
    "bomb.yaml": "a0: &a0 [x, x]\n"
    + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 70)),
    "large.yaml": "# " + "x" * 1_100_000,
    "added.yaml": "styles: a.png\ntrainer:\n  callbacks+: os.system\n",
    "class.yaml": "styles: a.png\ntrainer:\n  callbacks:\n    class_path: os.system\n"
    "    init_args: {command: touch marker}\n",
    "classes.yaml": "styles: a.png\ntrainer: {logger: [{class_path: subprocess.Popen, "
    "init_args: {args: touch marker}}]}\n",
    "dotted.yaml": "styles: a.png\ntrainer.plugins.class_path: evil.Plugin\n",
    "named.yaml": "styles: a.png\ntrainer: {strategy: class.yaml}\n",
    "python.yaml": "styles: !!python/object/apply:os.system ['touch marker']\n",
    "nested.yaml": "styles: a.png\nconfig: class.yaml\n",
    "text.yaml": "styles: a.png\ntrainer: class.yaml\n",
    "style.yaml": "styles:\n- class_path: os.system\n  init_args: {command: touch marker}\n",
}


def rows():
    for program, lines in TABLES.items():
        for line in lines.strip("\n").splitlines():
            argv, _, expected = line.rpartition("| ")
            yield pytest.param(program, argv.split(), expected, id=f"{program} {argv.strip()}")


@pytest.fixture(scope="module")
def place(tmp_path_factory, loss_weights):
    """A folder with what the tables name."""
    folder = tmp_path_factory.mktemp("wrong")
    for name in ("a.png", "b.png", "wave.png"):
        smooth_field(len(name), 48, 56).save(folder / name)
    smooth_field(0, 20, 24).save(folder / "small.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "folder").mkdir()
    (folder / "folder.onnx").mkdir()
    for name in ("taken.onnx", "taken.md", "taken.gif", "wave.jpg"):
        (folder / name).touch()
    frames = [smooth_field(seed, 48, 56) for seed in range(2)]
    frames[0].save(folder / "clip.gif", save_all=True, append_images=frames[1:])
    (folder / "done").mkdir()
    (folder / "done" / "last.ckpt").touch()
    (folder / "report").mkdir()
    (folder / "report" / "report.html").touch()
    # What a class path of the current folder would run.
    (folder / "evil.py").write_text("open('marker', 'w')\nclass Plugin: pass\n")
    shutil.copy(loss_weights, folder / "slim.safetensors")
    for seed, (name, names) in enumerate([("model", ["wave", "rain"]), ("twins", ["a/", "a\\"]),
                                          ("other", ["x"])]):  # fmt: skip
        torch.manual_seed(seed)
        network = TransformerNet(len(names), width=0.0625, num_blocks=1)
        described = [{"name": name, "images": []} for name in names]
        save_style_model(folder / f"{name}.safetensors", network, describe(network, described, {}))
    for name, text in SETTINGS.items():
        (folder / name).write_text(text)
    was = os.getcwd()
    os.chdir(folder)
    taken = ["-o", "taken.style.safetensors"]
    assert styles.main(["extract", "model.safetensors", "wave", *taken]) == 0
    os.chdir(was)
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("program", "argv", "expected"), rows())
def test_it_is_told_in_one_line_with_exit_code_2(
    place, monkeypatch, capfd, program, argv, expected
):
    if program in NEEDS:
        pytest.importorskip(NEEDS[program])
    monkeypatch.chdir(place)
    # fst-styles knows the shipped file by its place, and keeps it.
    for module in (commands, model_names)[: 1 if program == "fst-styles" else 2]:
        monkeypatch.setattr(module, "GALLERY", place / "none.safetensors")
    before, folders = contents(place), sorted(place.rglob("*"))
    argv = [word for given in argv for word in SHORT.get(given, [given])]
    try:
        code = MAINS[program](argv)
    except SystemExit as stop:  # argparse
        code = stop.code
    told = capfd.readouterr()
    lines = [line for line in told.err.splitlines() if not line.startswith(("usage: ", "  "))]
    assert code == 2, told
    assert told.out == ""
    assert all(line.startswith(program) and len(line) < 1000 for line in lines), lines
    assert any(expected in line for line in lines), lines
    faults = [line for line in lines if program == "fst-train" or ": error: " in line]
    assert 1 <= len(faults) <= 4  # one a problem
    assert contents(place) == before and sorted(place.rglob("*")) == folders


def test_each_command_is_called_wrongly_thirty_times_and_more():
    counts = {program: len(lines.strip("\n").splitlines()) for program, lines in TABLES.items()}
    assert min(counts.values()) >= 30
    assert len({(row.values[0], *row.values[1]) for row in rows()}) == sum(counts.values())
