#!/bin/sh
# Installs Slurm and what its daemons know each other by, of Debian's packages, as root: tests/cluster-slurm.test.ts runs both on this machine.
set -eu
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
