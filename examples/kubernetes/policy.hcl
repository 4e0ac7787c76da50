# Reads the access token of one account and nothing else. It cannot force an exchange.
path "pagero/token/acme" {
  capabilities = ["read"]
}
