# What agent.hcl, exec.hcl and proxy.hcl need: one account's access token, and nothing else.
path "pagero/token/acme" {
  capabilities = ["read"]
}
