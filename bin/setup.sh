# Sets this machine up for bin/quickstart and bin/test; sourced by both. Safe to run again: what is there is kept.
# Everything it makes lives in $VIRTSTACK_WORK (default: virtstack-core in the user's cache directory).
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
work=${VIRTSTACK_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/virtstack-core/$(printf %s "$repository" | cksum | cut -d' ' -f1)}
collections=$work/collections

# What bash waits for may take no notice of Ctrl-C.
trap 'exit 130' INT

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

# install_packages DEBIAN... -- FEDORA...: with the machine's own package manager.
install_packages() {
    local debian=() fedora=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do debian+=("$1"); shift; done
    shift; fedora=("$@")
    if command -v apt-get >/dev/null; then
        as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${debian[@]}"
    elif command -v dnf >/dev/null; then
        as_root dnf install -y -q "${fedora[@]}"
    else
        return 1
    fi
}

# usable_python CHECK: the first interpreter that can make virtual environments and satisfies the Python expression.
usable_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c "import ensurepip, sys, venv; sys.exit(not ($1))" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

find_python() {
    python=$(usable_python 'sys.version_info >= (3, 11)') && return
    say "Installing Python"
    install_packages python3 python3-venv python3-pip -- python3 python3-pip || true
    python=$(usable_python 'sys.version_info >= (3, 11)') ||
        fail "Python 3.11 or newer with venv is needed, and could not be installed; install python3 and python3-venv"
}

# environment NAME INTERPRETER REQUIREMENT...: a virtual environment that holds the requirements; made anew when they change.
environment() {
    local path=$work/$1 interpreter=$2 wanted
    shift 2
    wanted=$({ "$interpreter" --version; printf '%s\n' "$@"; cat "$repository"/meta/ee-requirements.txt "$repository"/tests/requirements.txt; } | cksum)
    if [ "$(cat "$path/.wanted" 2>/dev/null)" != "$wanted" ]; then
        say "Making the Python environment ${path##*/}"
        rm -rf "$path"
        "$interpreter" -m venv "$path" &&
            "$path/bin/python" -m pip install --quiet --disable-pip-version-check "$@" || return
        printf %s "$wanted" >"$path/.wanted"
    fi
}

# The lab is installed as its users install it; pip sees to it that its sources in the checkout are the ones that run.
install_lab() {
    local sources
    sources=$(cd "$repository/lab" && find . -type f ! -name '*.pyc' ! -path '*.egg-info*' ! -path './build/*' | LC_ALL=C sort | xargs cksum | cksum)
    if [ "$(cat "$work/$1/.lab" 2>/dev/null)" != "$sources" ]; then
        rm -rf "$work/lab-build" && mkdir -p "$work/lab-build" && cp -R "$repository/lab" "$work/lab-build/lab"
        "$work/$1/bin/python" -m pip install --quiet --disable-pip-version-check "$work/lab-build/lab"
        "$work/$1/bin/python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$work/lab-build/lab"
        printf %s "$sources" >"$work/$1/.lab"
    fi
}

# Ansible finds a collection by its path: the checkout appears as virtstack.core in a tree of its own.
link_collection() {
    mkdir -p "$collections/ansible_collections/virtstack"
    ln -sfn "$repository" "$collections/ansible_collections/virtstack/core"
    export ANSIBLE_COLLECTIONS_PATH=$collections
}

# What KVM hosts and their tiny guests are made of. Where it cannot be had, their tests are left out and say so.
kvm_debian=(libvirt-daemon-system qemu-system-x86 qemu-utils qemu-guest-agent ovmf swtpm swtpm-tools dnsmasq-base
    bindfs busybox-static dropbear-bin mtools dosfstools e2fsprogs syslinux syslinux-common syslinux-efi genisoimage
    mmdebstrap systemd-container openssh-client libvirt-clients iproute2 libvirt-dev pkg-config gcc python3-dev)
kvm_fedora=(libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-driver-network libvirt-daemon-driver-storage-core
    libvirt-daemon-driver-nwfilter libvirt-daemon-config-nwfilter qemu-kvm qemu-img edk2-ovmf swtpm swtpm-tools dnsmasq
    bindfs mtools dosfstools e2fsprogs genisoimage iproute libvirt-devel pkgconf-pkg-config gcc python3-devel)

kvm_packages_installed() {
    if command -v dpkg-query >/dev/null; then
        [ "$(dpkg-query -W -f '${db:Status-Status}\n' "${kvm_debian[@]}" 2>/dev/null | grep -cx installed)" -eq ${#kvm_debian[@]} ]
    else
        rpm -q --whatprovides "${kvm_fedora[@]}" >/dev/null 2>&1
    fi
}

install_kvm_packages() {
    [ "$(uname -sm)" = "Linux x86_64" ] || { echo "left out: KVM hosts; they need Linux on x86_64"; return; }
    kvm_packages_installed && return
    say "Installing libvirt, QEMU and what the tiny guest is made of"
    install_packages "${kvm_debian[@]}" -- "${kvm_fedora[@]}" >/dev/null ||
        echo "left out: KVM hosts; libvirt and QEMU could not be installed (is this root, or sudo there?)"
    command -v apt-get >/dev/null ||
        echo "left out: the tiny guest; it is made of Debian's packages, which this system does not have"
}

# install_libvirt_binding ENVIRONMENT: libvirt-python, which is built against the libvirt that is there.
install_libvirt_binding() {
    "$work/$1/bin/python" -c 'import libvirt' 2>/dev/null && return
    pkg-config --exists libvirt 2>/dev/null ||
        { echo "left out: libvirt-python; it needs libvirt's headers (libvirt-dev or libvirt-devel)"; return; }
    "$work/$1/bin/python" -m pip install --quiet --disable-pip-version-check libvirt-python ||
        echo "left out: libvirt-python; it could not be built"
}
