"""Operations on several tables: submission, removal, splitting chunks, model change, retention."""
