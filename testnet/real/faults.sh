#!/usr/bin/env bash
# Sees every check of run.sh fail: puts in one fault after the other, and expects the check that it is named beside to fail.
#   testnet/real/faults.sh [--scenario minibeacon|gloas|lodestar] [FAULT[,FAULT...]...]      the environment is run.sh's
# Exit code 0 only if each fault was found; 77 where the rig is not there. Takes one to three minutes a fault.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
SCENARIO=minibeacon
[ "${1:-}" = --scenario ] && { SCENARIO="$2"; shift 2; }
all() { node --input-type=module -e "import { CHECKS } from '$HERE/lib/faults.mjs'; console.log([...new Set(Object.values(CHECKS).filter((c) => !c.only || c.only.includes('$SCENARIO')).map((c) => c.fault))].join('\n'))"; }
[ $# -gt 0 ] || mapfile -t given < <(all)
[ $# -eq 0 ] || given=("$@")
RUN="${ASSAY_REAL_RUN:-$HERE/run}"
mkdir -p "$RUN"
missed=0
for fault in "${given[@]}"; do
  out="$RUN/fault-$SCENARIO-$fault.json"
  code=0
  ASSAY_REAL_FAULT="$fault" "$HERE/run.sh" --scenario "$SCENARIO" --out "$out" > "$out.log" 2>&1 || code=$?
  [ "$code" != 77 ] || { tail -1 "$out.log" >&2; exit 77; }
  # The checks that the fault is named beside must fail; what else it breaks is shown.
  FAULT="$fault" CODE="$code" node --input-type=module -e "
    import fs from 'node:fs';
    import { CHECKS } from '$HERE/lib/faults.mjs';
    const { FAULT: fault, CODE: code } = process.env;
    const wanted = Object.keys(CHECKS).filter((id) => fault.split(',').includes(CHECKS[id].fault));
    const seen = JSON.parse(fs.readFileSync('$out')).scenarios[0].checks;
    const failed = seen.filter((c) => !c.ok);
    const missed = wanted.filter((id) => !failed.some((c) => c.check === id));
    const ok = missed.length === 0 && code === '1';
    console.log(\`\${ok ? 'seen  ' : 'MISSED'} \${fault}: \${missed.length ? 'passed all the same: ' + missed.join(', ') : ''}\`);
    for (const c of failed) console.log(\`         \${wanted.includes(c.check) ? '*' : ' '} \${c.check}: \${c.why.slice(0, 160)}\`);
    process.exit(ok ? 0 : 1);
  " || missed=1
done
exit $missed
