"""What each lint rule asks for, in a sentence: for reports that explain their rules (JSON, SARIF)."""

from __future__ import annotations

DESCRIPTIONS = {
    "StageNameCasing": "Stage names should be lowercase",
    "FromAsCasing": "The 'as' keyword should match the case of the 'from' keyword",
    "NoEmptyContinuation": "A continued instruction should have no empty line in it, which will become an error",
    "ConsistentInstructionCasing": "All instructions of a Dockerfile should be written in the same case",
    "DuplicateStageName": "Stage names should be unique",
    "ReservedStageName": "Reserved words should not be used as stage names",
    "JSONArgsRecommended": "CMD and ENTRYPOINT should be JSON arrays: a shell in between does not pass signals on",
    "MaintainerDeprecated": "MAINTAINER is deprecated: a label should name the author",
    "UndefinedArgInFrom": "FROM should use declared arguments only",
    "WorkdirRelativePath": "A relative WORKDIR should follow an absolute one: the base image's folder may change",
    "UndefinedVar": "Variables should be defined before they are used",
    "MultipleInstructionsDisallowed": "Of CMD, ENTRYPOINT and HEALTHCHECK a stage should have one: the last counts",
    "LegacyKeyValueFormat": "ENV and LABEL should be written with an equals sign, not with a space",
    "InvalidBaseImagePlatform": "The base image should be for the platform that is built for",
    "RedundantTargetPlatform": "FROM should not set the platform that it has by default",
    "SecretsUsedInArgOrEnv": "Secrets should be given in no ARG or ENV, which the image shows",
    "InvalidDefaultArgInFrom": "The defaults of global arguments should make valid names of base images",
    "FromPlatformFlagConstDisallowed": "FROM should not set a constant platform",
    "CopyIgnoredFile": "COPY and ADD should take no file that the ignore file excludes",
    "InvalidDefinitionDescription": "The comment above a stage or an argument should begin with its name",
    "ExposeProtoCasing": "Protocols of EXPOSE should be lowercase",
    "ExposeInvalidFormat": "EXPOSE should name no address and no port of the host",
}
