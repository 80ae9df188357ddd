"""Training and measuring all systems."""

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
from experiments.datasets.pairs.datasets import Pair, read_pairs
from experiments.datasets.pairs.evaluation_batches import evaluation_batches
from experiments.datasets.pairs.tokenized import TokenizedPairs, tokenize_pairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.lineage.config import ENTRIES, Entry, LineageConfig
from experiments.training.config import count_parameters
from experiments.training.fit import Run, fit
from experiments.training.session import Session
from experiments.translate.config import Config, SearchConfig
from experiments.translate.scores import Corpus, score_alignments, score_corpus
from experiments.translate.system import Tokenizers, build_system
from experiments.translate.translator import Translation, Translator

BUCKETS = 2  # batch shapes: each costs seconds of compilation for each system
ROWS = 1_000  # phrases translated at a time
TOGETHER = 2  # trainings that go on at a time, on one device


class Language(NamedTuple):
    """The phrases of one pair of locales."""

    train: list[Pair]
    test: list[Pair]


class EncodedLanguage(NamedTuple):
    """The same phrases as ids."""

    train: TokenizedPairs
    test: TokenizedPairs


class Contender(NamedTuple):
    """A system, ready to be trained on any pair."""

    entry: Entry
    begin: Callable[[], TrainState]  # a state of its own for each training
    step: TrainStep
    translator: Translator


class Outcome(NamedTuple):
    """What a system reached on a pair."""

    entry: Entry
    pair: str
    corpus: Corpus
    aer: float
    parameters: int
    seconds: float  # of training, in all sessions, compilation and waits included
    translations: list[Translation | None]  # of the test phrases


def read_languages(config: LineageConfig) -> dict[str, Language]:
    """Generates the phrases, or reads them where they were generated before."""
    datasets = {
        pair: Cldr(
            pair=pair,
            train=config.train,
            validation=1,  # nothing is chosen by validation
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


class Race:
    """What all systems share: vocabularies, batch shapes, budget."""

    def __init__(self, config: LineageConfig, languages: dict[str, Language]) -> None:
        """Makes one vocabulary and one set of shapes for all pairs.

        Sharing them lets a system that was compiled for one pair train on the next.
        """
        self.config, self.languages = config, languages
        self.mesh = make_mesh()
        everything = [
            pair for language in languages.values() for pair in language.train
        ]
        self.tokenizers = Tokenizers(*config.tokenizer.train(everything))
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
            buckets=BUCKETS,
            row_multiple=self.mesh.size,
        )

    def run(self, folder: Path, session: Session) -> Iterator[Outcome]:
        """Trains every system on every pair and measures it.

        On one device two trainings go on at a time: one alone, of matrices as small
        as these, leaves a quarter of two cores idle. On several devices it is one,
        since all of them must see programs that communicate in the same order.

        Args:
          folder: where the runs are kept, one folder a pair and a system.
          session: where progress is shown, and what asks to stop.

        Yields:
          What a system reached on a pair, in the order in which they are done.
        """
        pool = ThreadPoolExecutor(TOGETHER if self.mesh.size == 1 else 1)
        try:
            pending: set[Future[Outcome]] = set()
            for entry in ENTRIES:
                contender = pool.submit(self._prepare, entry)
                pending |= {
                    pool.submit(self._enter, contender, pair, folder, session)
                    for pair in self.config.pairs
                }
            while pending:
                # In short waits: a signal that the system hands to another thread is
                # not heeded before this one, the main thread, wakes.
                done, pending = wait(pending, 0.5, return_when=FIRST_COMPLETED)
                yield from (outcome.result() for outcome in done)
        except BaseException:
            session.stop.ask()  # so that the other is saved, not lost
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, entry: Entry) -> Contender:
        config = self.config
        system_config = Config(
            data=Cldr(),
            model=entry.model,
            optimizer=config.optimizer,
            steps=config.steps,
            seed=config.seed,
        )
        system, params = build_system(system_config, self.tokenizers)
        tx = config.optimizer.build(config.steps)
        step = make_train_step(
            system.loss, tx, state_sharding=replicated_sharding(self.mesh)
        )
        greedy = SearchConfig(beam_size=1, length_penalty=0.0)
        # All phrases in one batch: compiling for each length would take longer than
        # to search for all of them as long as for the longest.
        translator = Translator(
            system, search=greedy, source_limit=200, mesh=self.mesh, rows=ROWS
        )
        return Contender(entry, partial(init_state, params, tx), step, translator)

    def _enter(
        self, prepared: Future[Contender], pair: str, folder: Path, session: Session
    ) -> Outcome:
        """Trains a system on a pair and measures it."""
        config, contender = self.config, prepared.result()
        entry = contender.entry
        title = f"{entry.title}, {pair}"
        # What may differ when a lineage is gone on with is left out of its record.
        settings = dataclasses.replace(config, out=None, resume=False, data_dir=None)
        run = Run.create(
            folder / pair / entry.name,
            {"entry": entry.name, "pair": pair, "config": settings},
            resume=config.resume,
        )
        self.tokenizers.save(run.folder)
        trained = fit(
            run,
            state=replicate(contender.begin(), self.mesh),
            train_step=contender.step,
            batches=partial(self._batches, pair),
            steps=config.steps,
            rng=replicate(jax.random.key(config.seed), self.mesh),
            title=title,
            session=session,
        ).params
        session.screen.say(f"{title}: translating {config.test} held-out phrases")
        seconds = run.metrics()[-1]["time"]
        return self._measure(entry, pair, contender.translator, trained, seconds)

    def _batches(self, pair: str, start: int) -> Iterator[Batch]:
        batches = TokenBatches(
            self.encoded[pair].train,
            batch_tokens=self.config.batch_tokens,
            seed=self.config.seed,
            shapes=self.shapes,
            row_multiple=self.mesh.size,
        )
        return (make_global_batch(batch, self.mesh) for batch in batches.iterate(start))

    def _measure(
        self,
        entry: Entry,
        pair: str,
        translator: Translator,
        params: Params,
        seconds: float,
    ) -> Outcome:
        test = self.languages[pair].test
        found = translator.translate(params, [p.source for p in test])
        best = [some[0] if some else None for some in found]
        texts = ["" if one is None else one.text for one in best]
        return Outcome(
            entry=entry,
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
        """AER of the weights with which the references are written."""
        test = self.languages[pair].test
        batches = evaluation_batches(self.encoded[pair].test, self.shapes)
        weights = dict(translator.align(params, batches))
        return score_alignments([weights[i] for i in range(len(test))], test).aer
