"""Write the copies and the README of the chart anew: `python -m deploy.helm`."""

import shutil

from deploy.helm.generated import CHART, generated_files

shutil.rmtree(CHART / "files", ignore_errors=True)
for name, text in generated_files().items():
    path = CHART / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
