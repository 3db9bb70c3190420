#!/usr/bin/env bash
# The README's main job with a small setting: a real swarm kept within its limits. And a manager chosen at run time.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release --example swarm -- --peers 25 --low 8 --high 16 --seconds 8
cargo run --release --example choose -- basic
cargo run --release --example choose -- null
status=0
cargo run --release --example choose -- both || status=$?
[ "$status" -eq 2 ]
