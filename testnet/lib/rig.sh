# The rig of real clients (testnet/real/README.md), for the scenarios that run over it. Sourced, not run; REPO is set.
# `need_rig PART...` sets RIG_SOURCE, or ends with 77; `take_rig DIR PART...` copies it there and sets MINIBEACON and ETHREX_BIN;
# `run_scenarios FILE BASE NAME...`, after common.sh, runs `node FILE NAME` for each over minibeacon, and ends what it started.
# A PART is `minibeacon` or `capella`.

need_rig() {
  local part start
  RIG_SOURCE="${ASSAY_REALNET:-$REPO/../shared/realnet}"
  for part in "$@"; do
    start=run.sh
    [ "$part" = minibeacon ] || start=up.sh
    if [ ! -x "$RIG_SOURCE/$part/$start" ]; then
      echo "skipped: no rig at $RIG_SOURCE (ASSAY_REALNET names another place)" >&2
      exit 77
    fi
  done
  RIG_SOURCE="$(cd "$RIG_SOURCE" && pwd)"
}

# Its scripts anew each time; what it installs and builds stays, and is taken over where it is there already.
take_rig() {
  local dir="$1" part folder
  shift
  MINIBEACON="$dir/minibeacon"
  for part in "$@"; do
    while read -r folder; do
      mkdir -p "$dir/$folder"
      find "$RIG_SOURCE/$folder" -maxdepth 1 -type f -exec cp -p {} "$dir/$folder/" \;
      if [ -d "$RIG_SOURCE/$folder/node_modules" ] && [ ! -e "$dir/$folder/node_modules" ]; then
        ln -s "$RIG_SOURCE/$folder/node_modules" "$dir/$folder/node_modules"
      fi
    done < <(cd "$RIG_SOURCE" && find "$part" -type d \( -name node_modules -o -name target -o -name run \) -prune -o -type d -print)
  done
  [ -e "$MINIBEACON/node_modules" ] || (cd "$MINIBEACON" && npm install --no-save --no-audit --no-fund --loglevel=error)
  if [ -d "$dir/capella/cl" ] && [ ! -e "$dir/capella/cl/node_modules" ]; then
    (cd "$dir/capella/cl" && npm ci --no-audit --no-fund --loglevel=error)
  fi
  if [ -z "${ETHREX_BIN:-}" ]; then
    ETHREX_BIN="$RIG_SOURCE/minibeacon/el-ethrex/target/release/el-ethrex"
    [ -x "$ETHREX_BIN" ] || ETHREX_BIN="$MINIBEACON/el-ethrex/target/release/el-ethrex"
  fi
  if [ ! -x "$ETHREX_BIN" ]; then
    echo "building el-ethrex (about 9 min on 2 cores)"
    (cd "$MINIBEACON/el-ethrex" && nice -n 10 cargo build --release --locked)
  fi
  export ETHREX_BIN
}

end_run() {
  local dir="$DIR"
  finish
  [ -z "$dir" ] || RUN="$dir/minibeacon" "$MINIBEACON/stop.sh" > /dev/null 2>&1 || true
}

# Exit code 1 where one of them failed. The scenario's environment is that of testnet/beta/beta.mjs.
run_scenarios() {
  local file="$1" base="$2" scenario failed=0
  shift 2
  trap end_run EXIT
  trap 'exit 1' INT TERM
  for scenario in "$@"; do
    begin_run "${OUT:-$HERE/run}/$scenario"
    ASSAY="$ASSAY_BIN" RIG="$WORK" OUT_DIR="$DIR" BASE="${BASE:-$base}" SLOT="${SLOT:-3}" GLOAS="${GLOAS:-}" \
      SECONDS_PROVEN="${SECONDS_PROVEN:-300}" timeout -k 5 "${TIMEOUT:-900}" node "$file" "$scenario" &
    CHILD=$!
    wait "$CHILD" || failed=1
    CHILD=""
    end_run
  done
  return $failed
}
