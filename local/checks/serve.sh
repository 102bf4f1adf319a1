# Sourced by the checks beside it: the whole API, served for as long as a check runs.
#
# serve NAME [VARIABLE=value …] builds `local` and starts it with these settings and no others, on a free port,
# over an empty PostgreSQL of its own. It sets
#
#   API      where it listens: http://127.0.0.1:40123
#   FOLDER   target/checks/NAME, for the tools and files of the check
#   LOG      what the server said, one JSON line a request
#
# The server ends with the script, and its bad end is the script's.

serve() {
    local name=$1 target line
    shift
    target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
    FOLDER=$target/checks/$name
    LOG=$FOLDER/served/log
    cargo build --quiet --locked --package local
    mkdir -p "$FOLDER/served"

    # Nothing of the caller's environment or of a .env file: no check writes into somebody's database.
    exec {said}< <(cd "$FOLDER/served" && exec env --ignore-environment PATH="$PATH" PORT=0 LOCAL_DATA="$FOLDER/served" \
        "$@" "$target/debug/local" --fresh 2>&1)
    server=$!
    trap stop EXIT
    : >"$LOG"
    while IFS= read -r line <&"$said"; do
        echo "$line" | tee -a "$LOG" >&2
        if [[ $line =~ ^Serving\ on\ http://localhost:([0-9]+)/ ]]; then
            API=http://127.0.0.1:${BASH_REMATCH[1]}
            cat <&"$said" >>"$LOG" &
            return
        fi
    done
    echo "The server did not start." >&2
    return 1
}

stop() {
    local status=$?
    trap - EXIT
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" || { echo "The server did not end well." >&2; status=1; }
    exit "$status"
}
