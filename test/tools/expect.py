"""Runs a command and checks its exit code; its stdout and stderr both go to stdout, for FileCheck.

    expect.py CODE COMMAND...
"""

import subprocess
import sys

wanted, command = int(sys.argv[1]), sys.argv[2:]
result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
sys.stdout.write(result.stdout.decode(errors="replace"))
if result.returncode != wanted:
    print(f"expect.py: exit code {result.returncode}, expected {wanted}")
    sys.exit(1)
