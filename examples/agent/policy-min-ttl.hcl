# What agent.hcl and min-ttl.hcl need together: a template's parameters make its read an update.
path "pagero/token/acme" {
  capabilities = ["read", "update"]
}
