#!/bin/sh
# Installs what some tests talk to, where apt can: Prometheus, Alertmanager and OpenSSH's client; as root, or by sudo without a password.
# Nothing is started. Where it cannot be done it says why and ends well: those tests are then skipped, visibly, except where CI=true.

set -u

missing=
for program in prometheus promtool prometheus-alertmanager amtool ssh-keygen ssh-agent ssh-add; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

without() {
    echo "Without$missing: $1. The tests that need them are skipped." >&2
    exit 0
}

command -v apt-get >/dev/null 2>&1 || without "there is no apt-get here"
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    without "installing them takes root, or sudo without a password"
fi

echo "Installing$missing with apt …"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
if [ -e "$policy" ]; then policy=; fi
trap 'rm -f "$log"; [ -z "$policy" ] || $as_root rm -f "$policy"' EXIT
if [ -n "$policy" ]; then  # while it is there, apt starts no service
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null && $as_root chmod 755 "$policy"
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Acquire::http::Timeout=20 \
        -o Acquire::Retries=1 "$@" >"$log" 2>&1
}
install() { apt install -y --no-install-recommends prometheus prometheus-alertmanager openssh-client; }
install || { apt update && install; } || without "$(tail -n 1 "$log")"
