"""Start a mode. The package gets a unique name, so that it does not shadow others."""

import importlib.util
import sys
from pathlib import Path

NAME = "corpushooks_salt_worker"


def load() -> None:
    """Load this folder as a package, and remove it from the import path of Salt and its modules."""
    folder = Path(__file__).parent
    sys.path[:] = [entry for entry in sys.path if Path(entry) != folder]
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec and spec.loader
    sys.modules[NAME] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


if __name__ == "__main__":
    load()
    if sys.argv[1] == "keep":
        importlib.import_module(f"{NAME}.keep").keep(sys.argv[2:])
    elif sys.argv[1] == "bus":
        importlib.import_module(f"{NAME}.bus").serve(sys.argv[2])
    else:
        importlib.import_module(f"{NAME}.serve").serve()
