# A mount with its settings, one client, one account that takes over a refresh token, and a policy for
# who reads its access token. README.md says which secrets end up in the state, and why a second apply
# loses nothing.

resource "vault_mount" "pagero" {
  path        = "pagero"
  type        = "vault-plugin-pagero"
  description = "Access tokens for Pagero Online"

  lifecycle {
    # Removing the mount loses every refresh token in it.
    prevent_destroy = true
  }
}

resource "vault_generic_endpoint" "config" {
  path = "${vault_mount.pagero.path}/config"

  # A read returns every setting. Compare those below only.
  ignore_absent_fields = true
  # The settings go with the mount.
  disable_delete = true

  data_json = jsonencode({
    allowed_hosts = var.allowed_hosts
  })
}

resource "vault_generic_endpoint" "client" {
  depends_on = [vault_generic_endpoint.config]
  path       = "${vault_mount.pagero.path}/clients/default"

  # A read does not return client_secret: what was written stands in for it.
  ignore_absent_fields = true
  disable_delete       = true

  data_json = jsonencode(merge(var.client_urls, {
    client_id     = var.client_id
    client_secret = var.client_secret
    redirect_uris = var.redirect_uris
  }))
}

# Only where a refresh token exists already. It is better to enrol by a login: no refresh token comes
# near Terraform then.
resource "vault_generic_endpoint" "acme" {
  count      = nonsensitive(var.refresh_token != null) ? 1 : 0
  depends_on = [vault_generic_endpoint.client]
  path       = "${vault_mount.pagero.path}/accounts/acme"

  ignore_absent_fields = true
  # Deleting an account revokes its grants at Pagero. That is for a person to decide.
  disable_delete = true

  data_json = jsonencode({
    # The one that was issued first, for ever. The plugin knows it again and keeps its newest.
    refresh_token = var.refresh_token
    min_ttl       = var.min_ttl
    auto_refresh  = var.auto_refresh
  })
}

resource "vault_policy" "acme" {
  name   = "pagero-acme-read"
  policy = <<-EOT
    # Reads the access token of one account and nothing else.
    path "${vault_mount.pagero.path}/token/acme" {
      capabilities = ["read"]
    }
  EOT
}
