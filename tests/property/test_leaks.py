"""No public call of the compiled core keeps memory, on success or on an error path."""

import subprocess
import sys
from pathlib import Path


def test_nothing_leaks():
    script = Path(__file__).with_name("leak_script.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    traced, resident = (int(number) for number in done.stdout.split())
    # Bytes per round. A round makes thousands of objects and buffers; what is left is the constant part, spread out.
    assert traced < 50
    assert resident < 500
