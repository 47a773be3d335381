"""What the processes of runs are forked with: all that each of them would else import, or ask the system for, again.

Nothing here may ask for a GPU: a process that is forked after that cannot use one.
"""

import importlib

from stablebench.process import settings as process

for name in ("stablebench.training.run", "stablebench.training.build"):
    importlib.import_module(name)
process.versions()
process.packages()
process.platform_name()
process.torch_config()
process.commit()
process.hardware("cpu")
