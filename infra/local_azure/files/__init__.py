"""The Azure Files data plane: shares as plain folders, and the REST service that clients speak to them."""
