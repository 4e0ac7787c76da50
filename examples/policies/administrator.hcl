# Sets the mount up and fixes what is broken: settings, clients, accounts, refreshing by hand, and tokens too, to see whether
# they work. Who has this decides where secrets are sent: config (allowed_hosts) and clients (token_url).
#
# "+" is one name. A name holds no slash, so "pagero/+" and "pagero/+/+" are all paths that there are.

path "pagero/+" {
  capabilities = ["read", "update", "delete", "list"]
}

path "pagero/+/+" {
  capabilities = ["create", "read", "update", "delete"]
}
