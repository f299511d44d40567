#!/bin/sh
# Kills the store 200 times at random points over 20 seeds and looks for every acknowledged proof. Takes some minutes.
# ASSAY_KILL_ROUNDS: another number of kills (ten to a seed).
set -eu
cd "$(dirname "$0")/.."
export ASSAY_KILL_ROUNDS="${ASSAY_KILL_ROUNDS:-200}"
exec cargo test -p assay-store --test kill -- --nocapture
