# Reads the access token of ONE account, here acme, and nothing else. Cannot force an exchange: min_ttl counts for at most half
# of a token's lifetime.
#
# consul-template and Vault Agent send parameters in a body, {{ with secret "pagero/token/acme" "min_ttl=4m" }}, which Vault
# takes for an update: a template with a parameter needs capabilities = ["read", "update"]. Without a parameter it does not.

path "pagero/token/acme" {
  capabilities = ["read"]
}
