#!/usr/bin/env bash
# One door for a fresh Debian or Ubuntu machine: sets up everything that is missing, then does
# what was asked.
#
#   bash packaging/start.sh demo     set up, then open Isocenter on the built-in demo study
#   bash packaging/start.sh open X   set up, then open X (a folder, file or zip)
#   bash packaging/start.sh test     set up, then run the checks and the test suite
#   bash packaging/start.sh setup    set up only
set -euo pipefail
here="$PWD"
cd "$(dirname "$0")/.."
verb="${1:-demo}"
[ $# -gt 0 ] && shift
case "$verb" in
  demo | open | test | setup) ;;
  *) echo "Unknown: $verb (demo, open PATH, test, setup)" >&2; exit 2 ;;
esac

say() { printf '\033[1m%s\033[0m\n' "$*"; }

# --- system libraries ------------------------------------------------------------------------
run_libs=(libegl1 libgl1 libgl1-mesa-dri libopengl0 libglib2.0-0 libdbus-1-3 libfontconfig1
  libfreetype6 libxkbcommon0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1
  libxcb-shape0 libxcb-image0 libxcb-render-util0 libxcb-xinerama0 libxcb-xkb1 libxcb-randr0
  libx11-6 libx11-xcb1 libxrender1 libxext6 libsm6 libxcursor1 libxt6 fonts-dejavu-core)
test_tools=(xvfb xauth dicom3tools dcm2niix dcmtk)

is_installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
is_known() { apt-cache show "$1" >/dev/null 2>&1; }

# Newer releases renamed some libraries (a "t64" ending); either name will do.
missing_packages() {
  for name in "$@"; do
    is_installed "$name" || is_installed "${name}t64" || echo "$name"
  done
}

known_name() {
  if is_known "${1}t64"; then echo "${1}t64"; else echo "$1"; fi
}

# The newest Python this program is tested with, or nothing.
pick_python() {
  for candidate in python3.11 python3.12 python3.13 python3; do
    command -v "$candidate" >/dev/null || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    echo "$candidate"
    return
  done
}

# Debian keeps the parts that make an environment in a package of their own.
python_packages() {
  local python
  python="$(pick_python)"
  if [ -z "$python" ]; then
    echo python3 python3-venv
  elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  fi
}

install_system() {
  command -v dpkg-query >/dev/null || { say "Not Debian or Ubuntu: see README for your system"; return; }
  local wanted=("${run_libs[@]}")
  [ "$verb" = test ] && wanted+=("${test_tools[@]}")
  [ -x .venv/bin/python ] || wanted+=($(python_packages))
  local missing
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  [ "${#missing[@]}" -eq 0 ] && return
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { say "Ask an administrator to install: ${missing[*]}"; return; }
    root=(sudo)
  fi
  say "Installing system packages: ${missing[*]}"
  "${root[@]}" apt-get update -qq
  local names=()
  for name in "${missing[@]}"; do names+=("$(known_name "$name")"); done
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${names[@]}" >/dev/null
}

# --- Python packages -------------------------------------------------------------------------
install_python() {
  local extras="ai"
  [ "$verb" = test ] && extras="ai,test,dev"
  local stamp=".venv/isocenter-$extras.stamp"
  if [ ! -x .venv/bin/python ]; then
    local python
    python="$(pick_python)"
    [ -n "$python" ] || { say "Python 3.11 or newer is needed" >&2; exit 1; }
    # An environment that broke off half way is not left for the next start to trip over.
    "$python" -m venv .venv || { rm -rf .venv; exit 1; }
  fi
  [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt constraints.txt ] && return
  say "Installing Python packages into .venv (about 0.5 GB the first time)"
  .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$extras]"
  touch "$stamp"
}

install_system
install_python
bin="$PWD/.venv/bin"

case "$verb" in
  setup) say "Ready. Start with: .venv/bin/isocenter demo" ;;
  demo) exec "$bin/python" -m app demo "$@" ;;
  open) cd "$here"; exec "$bin/isocenter" "$@" ;;
  test) exec bash packaging/check.sh "$@" ;;
esac
