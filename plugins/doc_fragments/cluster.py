# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of everything that reaches an API server; they are defined in module_utils/cluster/options.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - How to reach the cluster and log in, as the path of a kubeconfig (several, separated by colons, are merged), as
        its content in YAML or JSON, or as a dictionary. Exec plugins, token files and client certificates in it work.
      - Without it, and without O(host) and credentials, E(KUBECONFIG), then C(~/.kube/config), then the service account
        of the pod that Ansible runs in are used.
      - A kubeconfig or O(context) given as an option wins over a server that is only named in the environment.
      - A file that does not exist, or that is no kubeconfig, is an error.
      - Can also be set with E(K8S_AUTH_KUBECONFIG).
    type: raw
  context:
    description:
      - The context of the kubeconfig, by default its current one.
      - Can also be set with E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description:
      - URL of the API server, for example V(https://api.cluster.example.com:6443). Without a scheme, C(https) is meant.
      - With O(api_key), O(username) or O(client_cert), no kubeconfig is read. Otherwise it takes the place of the
        server in the kubeconfig.
      - Can also be set with E(K8S_AUTH_HOST), as AWX's OpenShift credential does.
    type: str
  api_key:
    description:
      - Bearer token to log in with.
      - Can also be set with E(K8S_AUTH_API_KEY), as AWX's OpenShift credential does.
    type: str
  username:
    description:
      - User name for servers or proxies in front of them that take HTTP basic authentication. Needs O(password).
      - Can also be set with E(K8S_AUTH_USERNAME).
    type: str
  password:
    description:
      - Password of O(username).
      - Can also be set with E(K8S_AUTH_PASSWORD).
    type: str
  validate_certs:
    description:
      - Whether the server's TLS certificate is verified. It is, unless this or the kubeconfig says otherwise.
      - Can also be set with E(K8S_AUTH_VERIFY_SSL), as AWX's OpenShift credential does.
    type: bool
    aliases: [verify_ssl]
  ca_cert:
    description:
      - File with the certificates of the CAs that the server's certificate is verified with, in PEM.
      - By default those of the kubeconfig, or those that the system trusts.
      - Can also be set with E(K8S_AUTH_SSL_CA_CERT), as AWX's OpenShift credential does.
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description:
      - File with a client certificate to log in with, in PEM. Its key is in O(client_key), or in the same file.
      - Can also be set with E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - File with the key of O(client_cert), in PEM, without a passphrase.
      - Can also be set with E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  proxy:
    description:
      - URL of a proxy to reach the server through, by default that of the kubeconfig, then of the environment
        (E(HTTPS_PROXY)).
      - Can also be set with E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description:
      - Hosts, domains and networks that are reached without the proxy, separated by commas.
      - Can also be set with E(K8S_AUTH_NO_PROXY).
    type: str
  impersonate_user:
    description:
      - Act as this user. The credentials need the right to impersonate.
      - Can also be set with E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description:
      - Act as a member of these groups. Needs O(impersonate_user).
      - Can also be set with E(K8S_AUTH_IMPERSONATE_GROUPS), separated by commas.
    type: list
    elements: str
  request_timeout:
    description:
      - Seconds after which a request without an answer has failed. Must be more than 0.
      - Can also be set with E(K8S_AUTH_REQUEST_TIMEOUT).
    type: float
    default: 30.0
requirements:
  - kubernetes >= 28.1 (Python package)
"""

    # For plugins, which read the environment themselves and extend both fragments.
    PLUGIN = r"""
options:
  kubeconfig:
    env: [{name: K8S_AUTH_KUBECONFIG}]
  context:
    env: [{name: K8S_AUTH_CONTEXT}]
  host:
    env: [{name: K8S_AUTH_HOST}]
  api_key:
    env: [{name: K8S_AUTH_API_KEY}]
  username:
    env: [{name: K8S_AUTH_USERNAME}]
  password:
    env: [{name: K8S_AUTH_PASSWORD}]
  validate_certs:
    env: [{name: K8S_AUTH_VERIFY_SSL}]
  ca_cert:
    env: [{name: K8S_AUTH_SSL_CA_CERT}]
  client_cert:
    env: [{name: K8S_AUTH_CERT_FILE}]
  client_key:
    env: [{name: K8S_AUTH_KEY_FILE}]
  proxy:
    env: [{name: K8S_AUTH_PROXY}]
  no_proxy:
    env: [{name: K8S_AUTH_NO_PROXY}]
  impersonate_user:
    env: [{name: K8S_AUTH_IMPERSONATE_USER}]
  impersonate_groups:
    env: [{name: K8S_AUTH_IMPERSONATE_GROUPS}]
  request_timeout:
    env: [{name: K8S_AUTH_REQUEST_TIMEOUT}]
"""
