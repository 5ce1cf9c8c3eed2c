"""Sets fields of a checkpoint's config.json: edit-config.py FOLDER JSON"""

import json
import pathlib
import sys

path = pathlib.Path(sys.argv[1]) / "config.json"
path.write_text(json.dumps({**json.loads(path.read_text()), **json.loads(sys.argv[2])}))
