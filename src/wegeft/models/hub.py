"""Single files of a backbone from the Hugging Face hub, and the commit they belong to.

Does not: fetch whole models (``from_pretrained`` of transformers does), or run anything from a hub.
"""

from pathlib import Path

from wegeft.config import ModelConfig
from wegeft.errors import UserError


def hub_file(config: ModelConfig, *names: str) -> Path:
    """The first of the files ``names`` that the hub id ``config.source`` has, fetched if it is not in the cache yet.

    Raises:
        UserError: none of them can be had; the sentence gives the hub's reason.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RemoteEntryNotFoundError

    reason = ""
    for name in names:
        try:
            return Path(hf_hub_download(config.source, name, revision=config.revision))
        except RemoteEntryNotFoundError as error:
            reason = str(error)
        except (OSError, HfHubHTTPError, HFValidationError) as error:
            reason = str(error)
            break  # what is out of reach is so for the other names too
    reason = reason.strip().split("\n")[0]
    raise UserError(
        f"model.source={config.source} could not be loaded ({reason}): it must be a folder or a file with safetensors "
        "weights, or a hub id that this machine can reach and has access to."
    )


def hub_commit(config: ModelConfig) -> str:
    """The commit that ``config.revision`` of the hub id ``config.source`` means: the newest, without a revision."""
    return hub_file(config, "config.json", "model.safetensors").parent.name  # the cache has a folder for each commit
