#!/usr/bin/env bash
# Everything that must hold before a change lands: style, types, floors, tests, a minute of fuzzing.
# Assumes the setup of packaging/start.sh. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
status=0
step() {
  printf '\n== %s\n' "$1"
  shift
  "$@" || { status=1; printf '!! failed: %s\n' "$*"; }
}
step "ruff check" $bin/ruff check .
step "ruff format" $bin/ruff format --check .
step "pyright" $bin/pyright --pythonpath $bin/python
step "import contracts" $bin/lint-imports
if command -v Xvfb >/dev/null; then
  step "smoke run on X" env -u VTK_DEFAULT_OPENGL_WINDOW QT_QPA_PLATFORM=xcb \
    xvfb-run -a -s "-screen 0 1600x1000x24" $bin/python -m pytest -q -p no:cacheprovider \
    tests/gestures/test_smoke.py
fi
export QT_QPA_PLATFORM=offscreen VTK_DEFAULT_OPENGL_WINDOW=vtkEGLRenderWindow
step "tests" $bin/python -m pytest -n 2 --dist loadgroup --ignore=tests/inference "$@"
# One thread for each of two processes: a model's worker yields to them and still needs its share.
step "tests of models" env OMP_NUM_THREADS=1 $bin/python -m pytest -n 2 --dist loadgroup \
  tests/inference --ignore=tests/inference/test_client.py "$@"
# These count the shared memory of the whole machine: nothing that uses it may run beside them.
step "tests of the worker's client" $bin/python -m pytest tests/inference/test_client.py "$@"
step "fuzzing the readers for ${FUZZ_SECONDS:-60} s" $bin/python tests/fuzz/fuzz_readers.py \
  --seconds "${FUZZ_SECONDS:-60}"
exit $status
