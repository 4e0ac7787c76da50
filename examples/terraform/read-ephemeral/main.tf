# Reads an access token that is in no state and in no plan, for the provider or the provisioner that
# needs one. It takes Terraform 1.10, and a version of the provider that has the ephemeral resource
# vault_generic_secret.

terraform {
  required_version = ">= 1.10"

  required_providers {
    vault = {
      source = "hashicorp/vault"
    }
  }
}

provider "vault" {}

ephemeral "vault_generic_secret" "acme" {
  path = "pagero/token/acme"
}

# Such as the configuration of a provider that calls Pagero's API:
#
#     provider "restapi" {
#       uri = "https://api.pageroonline.com"
#       headers = {
#         Authorization = "Bearer ${ephemeral.vault_generic_secret.acme.data["access_token"]}"
#       }
#     }
