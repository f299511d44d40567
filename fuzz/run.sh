#!/usr/bin/env bash
# Runs fuzz targets one after the other, each for at least SECONDS_EACH and RUNS_EACH executions, whichever takes longer.
# usage: fuzz/run.sh [target...]        (all targets where none is named)
#   SECONDS_EACH=600 RUNS_EACH=1000000 SANITIZER=address NICE=15 fuzz/run.sh gossip_data
# Prints one line a target; ends with 1 where an input broke a target, with the file that holds it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds_each=${SECONDS_EACH:-600}
runs_each=${RUNS_EACH:-1000000}
sanitizer=${SANITIZER:-address}
nice_by=${NICE:-15}
triple=$(rustc +nightly -vV | sed -n 's/^host: //p')

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' Cargo.toml)
fi
for target in "${targets[@]}"; do
  [ -f "fuzz_targets/$target.rs" ] || { echo "no target is called $target" >&2; exit 2; }
done

for target in "${targets[@]}"; do
  nice -n "$nice_by" cargo +nightly fuzz build --fuzz-dir . --sanitizer "$sanitizer" "$target"
done

status=0
printf '%-22s %12s %9s %9s  %s\n' target executions seconds corpus result
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  log=$(mktemp)
  executions=0 began=$SECONDS left=$seconds_each result=ok
  # libFuzzer stops at the first of two limits; so it is started again until both are reached.
  while [ "$left" -gt 0 ] || [ "$executions" -lt "$runs_each" ]; do
    [ "$left" -gt 0 ] || left=300
    code=0
    ASAN_OPTIONS=${ASAN_OPTIONS:-detect_odr_violation=0} nice -n "$nice_by" \
      "target/$triple/release/$target" "corpus/$target" "corpus-ci/$target" \
      -artifact_prefix="artifacts/$target/" -max_total_time="$left" -print_final_stats=1 \
      -timeout=20 -rss_limit_mb=2048 -verbosity=1 >"$log" 2>&1 || code=$?
    round=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    executions=$((executions + ${round:-0}))
    left=$((seconds_each - (SECONDS - began)))
    if [ "$code" -ne 0 ]; then
      kept=$(sed -n 's/^artifact_prefix.*Test unit written to //p' "$log" | tail -1)
      result="FAILED (exit $code) ${kept:-see $log}"
      status=1
      break
    fi
    [ "${round:-0}" -gt 0 ] || { result="FAILED: nothing was run, see $log"; status=1; break; }
  done
  printf '%-22s %12d %9d %9d  %s\n' "$target" "$executions" $((SECONDS - began)) \
    "$(find "corpus/$target" -type f | wc -l)" "$result"
  case $result in ok) rm -f "$log" ;; esac
done
exit "$status"
