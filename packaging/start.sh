#!/usr/bin/env bash
# One door for a fresh Debian or Ubuntu machine: sets up everything that is missing, then does
# what was asked.
#
#   bash packaging/start.sh demo     set up, then open Isocenter on the built-in demo study
#   bash packaging/start.sh open X   set up, then open X (a folder, file or zip)
#   bash packaging/start.sh test     set up, then run the checks and the test suite
#   bash packaging/start.sh setup    set up only
set -euo pipefail
cd "$(dirname "$0")/.."
verb="${1:-demo}"
[ $# -gt 0 ] && shift

say() { printf '\033[1m%s\033[0m\n' "$*"; }

# --- system libraries ------------------------------------------------------------------------
run_libs=(libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libdbus-1-3 libfontconfig1 libxkbcommon0
  libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-image0
  libxcb-render-util0 libxcb-xinerama0 libxcb-randr0 libx11-6 libxrender1 libxext6 libsm6
  fonts-dejavu-core)
test_tools=(xvfb xauth dicom3tools)

missing_packages() {
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' && continue
    # Newer releases renamed some libraries (a "t64" ending); either name will do.
    dpkg-query -W -f='${Status}' "${name}t64" 2>/dev/null | grep -q 'ok installed' && continue
    echo "$name"
  done
}

install_system() {
  command -v dpkg-query >/dev/null || { say "Not Debian or Ubuntu: see README for your system"; return; }
  local wanted=("${run_libs[@]}")
  [ "$verb" = test ] && wanted+=("${test_tools[@]}")
  python3 -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3-venv)
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
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# --- Python packages -------------------------------------------------------------------------
pick_python() {
  for candidate in python3.11 python3.12 python3.13 python3; do
    command -v "$candidate" >/dev/null || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    echo "$candidate"
    return
  done
  say "Python 3.11 or newer is needed" >&2
  exit 1
}

install_python() {
  local extras="ai"
  [ "$verb" = test ] && extras="ai,test,dev"
  local stamp=".venv/isocenter-$extras.stamp"
  [ -x .venv/bin/python ] || "$(pick_python)" -m venv .venv
  [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt constraints.txt ] && return
  say "Installing Python packages into .venv"
  .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$extras]"
  touch "$stamp"
}

install_system
install_python

case "$verb" in
  setup) say "Ready. Start with: .venv/bin/isocenter demo" ;;
  demo) exec .venv/bin/python -m app demo "$@" ;;
  open) exec .venv/bin/python -m app "$@" ;;
  test) exec bash packaging/check.sh "$@" ;;
  *) say "Unknown: $verb (demo, open PATH, test, setup)"; exit 2 ;;
esac
