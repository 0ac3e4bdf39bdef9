"""Domains as libvirt 9.0 writes them, for the tests of this directory."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import parse

# What libvirt made of a machine with two disks and one interface.
CONFIG = """
<domain type='qemu'>
  <name>db</name>
  <uuid>f01ab2ce-9084-47ed-a913-a6ff04822a27</uuid>
  <memory unit='KiB'>262144</memory>
  <currentMemory unit='KiB'>262144</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/><vmport state='off'/></features>
  <cpu mode='host-model' check='partial'><topology sockets='1' dies='1' cores='2' threads='1'/></cpu>
  <clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='hpet' present='no'/></clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='/pool/db-root'/>
      <target dev='vda' bus='virtio'/>
      <alias name='ua-root'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
      <address type='drive' controller='0' bus='0' target='0' unit='0'/>
    </disk>
    <controller type='pci' index='0' model='pcie-root'/>
    <interface type='network'>
      <mac address='52:54:00:60:19:c3'/>
      <source network='default'/>
      <model type='virtio'/>
      <alias name='ua-default'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <graphics type='vnc' port='-1' autoport='yes' passwd='hunter22'><listen type='address'/></graphics>
    <video><model type='vga' vram='16384' heads='1' primary='yes'/></video>
    <memballoon model='virtio'><stats period='10'/></memballoon>
  </devices>
</domain>"""

# The same while it runs: what libvirt fills in at the start.
LIVE = (
    CONFIG.replace("<domain type='qemu'>", "<domain type='qemu' id='7'>")
    .replace("cpu mode='host-model' check='partial'>", "cpu mode='custom' match='exact'><model>EPYC</model>")
    .replace("<source file='/pool/db-root'/>", "<source file='/pool/db-root' index='1'/><backingStore/>")
    .replace("<source network='default'/>", "<source network='default' bridge='virbr0'/><target dev='vnet0'/>")
    .replace("port='-1'", "port='5900'")
    .replace("name='org.qemu.guest_agent.0'/>", "name='org.qemu.guest_agent.0' state='connected'/><alias name='c0'/>")
)


def config() -> Element:
    return parse(CONFIG)


def live() -> Element:
    return parse(LIVE)
