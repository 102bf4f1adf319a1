# Sourced by the checks: what they need besides Rust, from Debian, PyPI and npm, in versions that stand in the
# files beside this one.

# install_debian PACKAGE … installs packages of Debian, where that may be done: by root, or on a machine of CI by a
# user who becomes root without a password.
install_debian() {
    local become=()
    if [ "$(id -u)" != 0 ] && [ "${CI:-}" = true ] && sudo -n true 2>/dev/null; then
        become=(sudo -n)
    fi
    if { [ "$(id -u)" = 0 ] || [ "${#become[@]}" != 0 ]; } && command -v apt-get >/dev/null; then
        {
            "${become[@]}" apt-get update -q &&
                "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy "$@"
        } >&2
    else
        echo "This check needs what Debian has in: $*" >&2
        return 1
    fi
}

# node_packages FOLDER puts the packages of package-lock.json into it.
node_packages() {
    command -v npm >/dev/null || install_debian nodejs npm
    mkdir -p "$1"
    # Once for each version of the file: npm deletes what is there and starts anew.
    if ! cmp --quiet local/checks/package-lock.json "$1/installed.json"; then
        cp local/checks/package.json local/checks/package-lock.json "$1"
        (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
        cp "$1/package-lock.json" "$1/installed.json"
    fi
}

# python_packages FOLDER REQUIREMENTS makes a virtual environment of it, with the packages of that file.
python_packages() {
    if ! cmp --quiet "$2" "$1/installed.txt"; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian python3-venv
        python3 -m venv "$1"
        "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2" >&2
        cp "$2" "$1/installed.txt"
    fi
}
