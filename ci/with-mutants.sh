#!/bin/sh
# A compiler for ci/mutants.sh: with the private cfg that lets faults be injected by `CONNMGR_MUTANT`.
exec "$@" --cfg connmgr_mutants
