# Reads an access token with any version of Terraform and of the provider. The token ends up in the state
# and in saved plans, readable for everybody who may read these, until it expires some ten minutes
# later. Use read-ephemeral where you can.

terraform {
  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 3.3.1"
    }
  }
}

provider "vault" {}

data "vault_generic_secret" "acme" {
  path = "pagero/token/acme"
}

output "access_token" {
  value     = data.vault_generic_secret.acme.data["access_token"]
  sensitive = true
}
