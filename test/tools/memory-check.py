"""Checks of the JSON of `lapidary bench` on stdin that the peak memory is the predicted one within 5 %.

The tiny checkpoint takes so little that what the program itself needs (code, heap, stacks) may come to 8 MB on top.
"""

import json
import sys

result = json.load(sys.stdin)
peak, predicted = result["peak_memory_bytes"], result["predicted_memory_bytes"]
print(f"peak {peak}, predicted {predicted}")
sys.exit(not 0.95 * predicted <= peak <= 1.05 * predicted + 8e6)
