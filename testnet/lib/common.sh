# Shared by the scripts beside this folder: builds, and ends what was started. Sourced, not run.
# Sets REPO, ASSAY_BIN and CHAIN_BIN; `begin_run DIR` prepares a folder, and `finish` ends every process named in its file `pids`.
REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

need_tools() {
  for tool in "$@"; do command -v "$tool" > /dev/null || { echo "$tool is needed" >&2; exit 1; }; done
}

# The node, and the simulated chain where `chain` is given. Release: twenty nodes share this machine.
binaries() {
  local profile="${PROFILE:-release}" folder
  folder="$REPO/target/$([ "$profile" = dev ] && echo debug || echo "$profile")"
  if [ -z "${ASSAY_BIN:-}" ]; then (cd "$REPO" && cargo build --profile "$profile" -p assay); ASSAY_BIN="$folder/assay"; fi
  if [ "${1:-}" = chain ] && [ -z "${CHAIN_BIN:-}" ]; then
    (cd "$REPO" && cargo build --profile "$profile" -p assay --example simulated_chain)
    CHAIN_BIN="$folder/examples/simulated_chain"
  fi
  ASSAY_BIN="$(realpath "$ASSAY_BIN")"
  [ -x "$ASSAY_BIN" ] || { echo "no binary at $ASSAY_BIN" >&2; exit 1; }
}

DIR="" CHILD=""
begin_run() {
  DIR="$1"
  [ ! -e "$DIR/pids" ] || { echo "$DIR is in use, or was left by a run that was killed: remove $DIR/pids" >&2; DIR=""; exit 1; }
  rm -rf "$DIR"
  mkdir -p "$DIR"
  : > "$DIR/pids"
}

# Ends what is left, by the ids it was started with, where the id is still that of such a process.
finish() {
  [ -n "$DIR" ] || return 0
  if [ -n "$CHILD" ] && kill "$CHILD" 2> /dev/null; then wait "$CHILD" || true; fi
  if [ -f "$DIR/pids" ]; then
    while read -r pid; do
      case "$(ps -o args= -p "$pid" 2> /dev/null)" in *"$DIR"*) kill -9 "$pid" 2> /dev/null || true ;; esac
    done < "$DIR/pids"
    rm -f "$DIR/pids"
  fi
  DIR="" CHILD=""
}
