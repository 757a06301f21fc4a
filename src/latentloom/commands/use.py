"""What a trained model is used for: latents and predictions of new images, and export."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from latentloom.commands import Commands, command
from latentloom.commands.runs import add_cluster
from latentloom.flags import Overrides

FEW = 50  # images whose predictions are printed


def add_to(commands: Commands) -> None:
    """The commands embed, predict and export."""
    embed = command(commands, "embed", _embed, "latents and predictions of images, as a table")
    _add_images(embed)
    embed.add_argument("--out", required=True, help="the table, a .parquet or .csv file")
    add_cluster(embed)
    predict = command(commands, "predict", _predict, "the classes of images, and how far they lie from them")
    _add_images(predict)
    predict.add_argument(
        "--out", help=f"a .parquet or .csv file; at most {FEW} images are printed without it"
    )
    export = command(commands, "export", _export, "a trained model for use elsewhere")
    _add_model(export)
    export.add_argument("--format", required=True, metavar="safetensors|onnx", help="safetensors or onnx")
    export.add_argument("--out", required=True, help="the folder")
    export.add_argument("--overwrite", action="store_true", help="replace files that are there")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a run's folder, or that of an export to safetensors")
    parser.add_argument(
        "--function", help="module:function, that gave --model of the run, if it had a classifier of yours"
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "images", metavar="IMAGES", nargs="+", help="files, folders, or a .txt file with a path in each line"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the table")
    parser.add_argument("--batch", type=int, help="images at a time (as many as fit in memory)")
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=cores, help=f"threads that decode ({cores})")
    parser.add_argument("--device", default="auto", help="cpu or cuda; auto is a GPU if there is one (auto)")


def _embed(arguments: argparse.Namespace, overrides: Overrides) -> None:
    if arguments.cluster is None:
        _write(arguments, latents=True)
        return
    from latentloom.cluster import ray_needed

    with ray_needed():
        from latentloom.cluster.embed import embed_on
    outcome = embed_on(
        arguments.cluster,
        arguments.model,
        arguments.images,
        arguments.out,
        batch=arguments.batch,
        workers=arguments.workers,
        device=arguments.device,
        function=arguments.function,
        overwrite=arguments.overwrite,
    )
    print(outcome)
    print(f"the table is {arguments.out}")


def _predict(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.checks import UserError
    from latentloom.inference import image_paths, load, predict_files

    if arguments.out is not None:
        _write(arguments, latents=False)
        return
    paths = image_paths(arguments.images)
    if len(paths) > FEW:
        raise UserError(
            f"{len(paths)} images are too many to print; write them to a file with --out FILE.csv"
        )
    trained = load(arguments.model, device=arguments.device, function=arguments.function)
    text, outcome = predict_files(trained, paths, batch=arguments.batch, workers=arguments.workers)
    print(text)
    print(outcome, file=sys.stderr)


def _write(arguments: argparse.Namespace, latents: bool) -> None:
    from latentloom.inference import embed_files, load

    outcome = embed_files(
        load(arguments.model, device=arguments.device, function=arguments.function),
        arguments.images,
        arguments.out,
        latents=latents,
        batch=arguments.batch,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    print(outcome)
    print(f"the table is {arguments.out}")


def _export(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from latentloom.inference import export, load

    trained = load(arguments.model, device="cpu", function=arguments.function)
    for path in export(trained, arguments.format, Path(arguments.out), overwrite=arguments.overwrite):
        print(f"wrote {path}")
