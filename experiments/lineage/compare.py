"""Trains and evaluates all systems on all language pairs."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from attnjax.parallel import (
    make_global_batch,
    make_mesh,
    replicate,
    replicated_sharding,
)
from attnjax.train import (
    Params,
    TrainState,
    TrainStep,
    init_state,
    make_train_step,
)
from experiments.datasets.cldr.cldr_builder import Cldr, generate
from experiments.datasets.pairs.batching import Batch
from experiments.datasets.pairs.bucketing import Shape, choose_shapes
from experiments.datasets.pairs.datasets import Pair, fingerprint_pairs, read_pairs
from experiments.datasets.pairs.evaluation_batches import evaluation_batches
from experiments.datasets.pairs.tokenized import TokenizedPairs, tokenize_pairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.datasets.tokenizers.sides import Tokenizers
from experiments.lineage.config import LineageConfig, System
from experiments.runs.data_file import check_data
from experiments.runs.folder import Run
from experiments.runs.paths import inside
from experiments.training.fit import fit
from experiments.training.parameters import count_parameters
from experiments.training.session import Session
from experiments.translate.config import Config, SearchConfig
from experiments.translate.model import build_model
from experiments.translate.scores import Corpus, score_alignments, score_corpus
from experiments.translate.translator import Translation, Translator

NUM_BUCKETS = 2  # batch shapes; each costs seconds of compilation for each system
ROWS = 1_000  # phrases translated in one batch
CONCURRENT = 2  # trainings at a time on one device


class Language(NamedTuple):
    """The phrases of one pair of locales."""

    train: list[Pair]
    test: list[Pair]


class EncodedLanguage(NamedTuple):
    """The phrases of one pair of locales as ids."""

    train: TokenizedPairs
    test: TokenizedPairs


class PreparedSystem(NamedTuple):
    """A system with its jitted functions, which all pairs share."""

    system: System
    init_state: Callable[[], TrainState]  # called for each training: steps donate it
    train_step: TrainStep
    translator: Translator


class Result(NamedTuple):
    """The evaluation of a system on a pair."""

    system: System
    pair: str
    corpus: Corpus
    aer: float
    parameters: int
    seconds: float  # training time of all sessions, compilation and waits included
    translations: list[Translation | None]  # of the test phrases


def read_languages(config: LineageConfig) -> dict[str, Language]:
    """Generates the phrases of each pair, or reads those generated before."""
    datasets = {
        pair: Cldr(
            pair=pair,
            train=config.train,
            validation=1,  # the last checkpoint is used
            test=config.test,
            seed=config.seed,
            data_dir=config.data_dir,
        )
        for pair in config.pairs
    }
    generate(datasets.values())
    return {
        pair: Language(read_pairs(data, "train"), read_pairs(data, "test"))
        for pair, data in datasets.items()
    }


class Comparison:
    """Trains all systems with the same vocabularies, batch shapes and budget."""

    def __init__(self, config: LineageConfig, languages: dict[str, Language]) -> None:
        """Chooses vocabularies and batch shapes for all pairs together.

        With common shapes, what is compiled for one pair serves the others.
        """
        self.config, self.languages = config, languages
        self.mesh = make_mesh()
        all_pairs = [pair for language in languages.values() for pair in language.train]
        # Of every pair: vocabularies and batch shapes depend on all of them.
        self.fingerprints = {
            f"{pair} {name}": fingerprint_pairs(split)
            for pair, language in languages.items()
            for name, split in language._asdict().items()
        }
        self.tokenizers = Tokenizers(*config.tokenizer.train(all_pairs))
        self.encoded = {
            pair: EncodedLanguage(
                *(tokenize_pairs(split, *self.tokenizers) for split in language)
            )
            for pair, language in languages.items()
        }
        lengths = [s.lengths for encoded in self.encoded.values() for s in encoded]
        self.shapes: Sequence[Shape] = choose_shapes(
            np.concatenate(lengths) + 1,  # EOS
            batch_tokens=config.batch_tokens,
            buckets=NUM_BUCKETS,
            row_multiple=self.mesh.size,
        )

    def run(self, folder: Path, session: Session) -> Iterator[Result]:
        """Trains every system on every pair and evaluates it.

        On one device two trainings run concurrently, because matrices as small as
        these leave a quarter of two cores idle. On several devices there is one at a
        time: all devices must launch their collectives in the same order.

        Args:
          folder: folder of the runs, one subfolder per pair and system.
          session: the screen, and the request to stop.

        Yields:
          The result of a system on a pair, in the order of completion.
        """
        pool = ThreadPoolExecutor(CONCURRENT if self.mesh.size == 1 else 1)
        try:
            pending: set[Future[Result]] = set()
            for system in self.config.chosen:
                prepared = pool.submit(self._prepare, system)
                pending |= {
                    pool.submit(self._train, prepared, pair, folder, session)
                    for pair in self.config.pairs
                }
            while pending:
                # Python runs signal handlers in the main thread only, which is this
                # one: wake it every 0.5 s.
                done, pending = wait(pending, 0.5, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            session.stop.request()  # so that the other training saves a checkpoint
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, system: System) -> PreparedSystem:
        """Builds the model of a system, its train step and its translator."""
        config = self.config
        model_config = Config(
            data=Cldr(),
            model=system.model,
            optimizer=config.optimizer,
            steps=config.steps,
            seed=config.seed,
        )
        model, params = build_model(model_config, self.tokenizers)
        tx = config.optimizer.build(config.steps)
        train_step = make_train_step(
            model.loss, tx, state_sharding=replicated_sharding(self.mesh)
        )
        greedy = SearchConfig(beam_size=1, length_penalty=0.0)
        # All phrases in one batch: compiling a program per length takes longer than
        # decoding all of them for as many steps as the longest.
        translator = Translator(
            model, search=greedy, max_source_length=200, mesh=self.mesh, rows=ROWS
        )
        new_state = partial(init_state, params, tx)
        return PreparedSystem(system, new_state, train_step, translator)

    def _train(
        self, future: Future[PreparedSystem], pair: str, folder: Path, session: Session
    ) -> Result:
        """Trains a system on a pair and evaluates it."""
        config, prepared = self.config, future.result()
        system = prepared.system
        title = f"{system.title}, {pair}"
        # Settings that may differ when the lineage is resumed are not recorded.
        settings = dataclasses.replace(
            config,
            out=None,
            resume=False,
            systems=(),
            data_dir=None,
            compilation_cache=True,
        )
        run_folder = inside(folder, f"{pair}/{system.name}")
        check_data(run_folder, self.fingerprints)
        run = Run.create(
            run_folder,
            {"system": system.name, "pair": pair, "config": settings},
            resume=config.resume,
        )
        run.write_files(self.tokenizers.save, self.fingerprints)
        trained = fit(
            run,
            state=replicate(prepared.init_state(), self.mesh),
            train_step=prepared.train_step,
            batches=partial(self._batches, pair),
            steps=config.steps,
            rng=replicate(jax.random.key(config.seed), self.mesh),
            title=title,
            num_shapes=len(self.shapes),
            session=session,
        ).params
        session.screen.print(f"{title}: translating {config.test} held-out phrases")
        seconds = run.metrics()[-1]["time"]
        return self._evaluate(system, pair, prepared.translator, trained, seconds)

    def _batches(self, pair: str, start: int) -> Iterator[Batch]:
        batches = TokenBatches(
            self.encoded[pair].train,
            batch_tokens=self.config.batch_tokens,
            seed=self.config.seed,
            shapes=self.shapes,
            row_multiple=self.mesh.size,
        )
        return (make_global_batch(batch, self.mesh) for batch in batches.iterate(start))

    def _evaluate(
        self,
        system: System,
        pair: str,
        translator: Translator,
        params: Params,
        seconds: float,
    ) -> Result:
        test = self.languages[pair].test
        found = translator.translate(params, [p.source for p in test])
        best = [hypotheses[0] if hypotheses else None for hypotheses in found]
        texts = ["" if one is None else one.text for one in best]
        return Result(
            system=system,
            pair=pair,
            corpus=score_corpus(test, texts, bleu_tokenizer="none"),
            aer=self._alignment_error(pair, translator, params),
            parameters=count_parameters(params),
            seconds=seconds,
            translations=best,
        )

    def _alignment_error(
        self, pair: str, translator: Translator, params: Params
    ) -> float:
        """AER of the attention weights of the references, teacher-forced."""
        test = self.languages[pair].test
        batches = evaluation_batches(self.encoded[pair].test, self.shapes)
        weights = dict(translator.align(params, batches))
        return score_alignments([weights[i] for i in range(len(test))], test).aer
