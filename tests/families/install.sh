#!/bin/sh
# Installs what tests compare with in build/python: the families' own code, and the Rust tokenizers, of the versions that made the goldens.
# A minute and 1.3 GB. Where Python has no venv, it comes from Debian's packages, as root.
set -eu
cd "$(dirname "$0")/../.."

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi
python3 -m venv build/python
build/python/bin/pip install -qq --disable-pip-version-check -r tests/families/requirements.txt
