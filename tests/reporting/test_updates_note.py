"""Claims about the note on how long each model of a table was trained."""

from nsmt.reporting.tables import Table
from nsmt.reporting.updates import updates_note, with_updates
from nsmt.training.settings import PartSettings, ScheduleSettings, StageSettings

SCHEDULE = ScheduleSettings(
    kind="two_stage",
    dense=StageSettings(updates=8000),
    specialise=StageSettings(updates=150),
    separate=PartSettings(updates=400),
    tuning=PartSettings(updates=50),
)


def test_the_note_names_the_updates_of_every_kind_of_model_that_a_table_has():
    text = updates_note(SCHEDULE, ["random"], patience=None)
    assert text == "Updates a model: dense 8,000; then 150 for continue-dense and each method."
    text = updates_note(SCHEDULE, ["lass", "bilingual"], patience=None)
    assert "; 50 for each direction that LaSS tunes to find its masks" in text
    assert "; 400 for each bilingual model" in text


def test_updates_that_patience_may_cut_short_are_called_at_most():
    assert "at most" in updates_note(SCHEDULE, [], patience=3)
    patient = SCHEDULE.model_copy(update={"tuning": PartSettings(updates=50, patience=2)})
    assert "at most" not in updates_note(patient, ["bilingual"], patience=None)
    assert "at most" in updates_note(patient, ["lass"], patience=None)


def test_claims_and_tables_2_3_and_4_have_the_note_in_all_their_forms():
    names = ("claims", "table1", "table11", "table2", "table2-nll-gains", "table3", "table4", "k")
    tables = {name: Table(name, ["System"], [], ["before"]) for name in names}
    noted = {name for name, each in with_updates(tables, "note").items() if "note" in each.notes}
    assert noted == {"claims", "table2", "table2-nll-gains", "table3", "table4"}
    assert tables["table2"].notes == ["before"]
