"""Pushes to and fetches from the Hub that HF_ENDPOINT names; for tests/test_hub.py, which reads the
JSON that is printed.

    python hub_calls.py MODEL FOLDER
"""

import json
import sys
from pathlib import Path

from fst.errors import FstError
from fst.stylize.hub import HubStylizer


def refused(call, *args, **kwargs):
    """The message of the error of ours that a call ends in."""
    try:
        call(*args, **kwargs)
    except FstError as error:
        return str(error)
    return None


def main(model, folder):
    """Make all the calls; gives what came of them."""
    told = {}
    mine = HubStylizer(model)
    told["url"] = mine.push_to_hub(
        "me/my-styles", private=True, model_card_kwargs={"license": "cc-by-4.0"}
    )
    fetched = HubStylizer.from_pretrained("me/my-styles")
    told["names"] = fetched.style_names
    told["painting"] = fetched.stylize(folder / "photo.png", style="wave").flatten().tolist()
    told["missing"] = refused(HubStylizer.from_pretrained, "me/no-such")
    told["no name"] = refused(HubStylizer.from_pretrained, "a/b/c")
    told["evil"] = refused(HubStylizer.from_pretrained, "me/evil")

    mine.save_pretrained(folder / "saved")
    told["saved"] = sorted(path.name for path in (folder / "saved").iterdir())
    told["read back"] = HubStylizer.from_pretrained(folder / "saved").style_names
    told["taken"] = refused(mine.save_pretrained, folder / "saved")
    return told


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
