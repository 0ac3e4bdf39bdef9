"""Who asks, and what they may do.

Wired by the server so::

    cluster.authorizer = Authorizer(cluster.store)
    cluster.authenticator = Authenticator(cluster, TokenAuthority(key_pem, clock=cluster.clock), {admin_token: ADMIN})

    # ADMIN, not SYSTEM: webhooks let the cluster's own components change what a user must not.
    user = cluster.authenticator.authenticate(authorization_header, client_certificate)
    user = impersonate(cluster.authorizer, user, headers)
    cluster.authorizer.require(user, Attributes(verb="list", group="kubevirt.io", resource="virtualmachines", ...))
"""
