"""Compiles a small random bundle without eyes and ears, and one with more tokens, for what eval refuses to compare or run.

    eval-models.py LAPIDARY FOLDER
"""

import copy
import pathlib
import shutil
import subprocess
import sys

import checkpoint

lapidary, folder = sys.argv[1], pathlib.Path(sys.argv[2])
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)


def compileBundle(name, change):
    config = copy.deepcopy(checkpoint.defaultConfig())
    change(config)
    checkpoint.writeCheckpoint(folder / name, config)
    subprocess.run([lapidary, "compile", folder / name, "--target", "cpu", "--quant", "bf16", "-o", folder / f"{name}.lap"],
                   check=True)


compileBundle("text-alone", lambda config: config.update(vision_config=None, audio_config=None))
compileBundle("more-tokens", lambda config: config["text_config"].update(vocab_size=2064))
